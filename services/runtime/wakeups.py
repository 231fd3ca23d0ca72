"""Wake-ups within the process: they say when to read the store, never what it contains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

OUTBOX = "outbox"
"""Key that wakes the relay; the followers of a run are woken under its uid."""


class Shutdown:
    """Signal that ends every loop and stream of the process."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def in_progress(self) -> bool:
        """True once the process is ending."""
        return self._event.is_set()

    def begin(self) -> None:
        """End every loop and stream."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the process is ending."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> bool:
        """Wait and return False, or return True as soon as the process is ending."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Subscription:
    """One waiter; wake-ups between two waits count as one, so that it never grows."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """End the current or next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds`` or at a wake-up, at once after one since the last wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class _Key:
    """Subscriptions to a key and the number of their wake-ups."""

    def __init__(self) -> None:
        self.waiting: set[Subscription] = set()
        self.wakes = 0


class Wakeups:
    """Subscriptions by key: a run's uid or :data:`OUTBOX`."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    @contextmanager
    def subscribe(self, *keys: str) -> Iterator[Subscription]:
        """Yield a subscription to all of ``keys`` for the duration of the block."""
        subscription = Subscription()
        for key in keys:
            self._keys.setdefault(key, _Key()).waiting.add(subscription)
        try:
            yield subscription
        finally:
            for key in keys:
                self._keys[key].waiting.discard(subscription)
                if not self._keys[key].waiting:
                    del self._keys[key]

    def wake(self, *keys: str) -> None:
        """Wake all subscriptions to any of ``keys``; call it after the commit."""
        for key in keys:
            if key in self._keys:
                self._keys[key].wakes += 1
                for subscription in self._keys[key].waiting:
                    subscription.wake()

    def wake_count(self, key: str) -> int:
        """Return the number of wake-ups of ``key`` while it has subscriptions; 0 without any."""
        return self._keys[key].wakes if key in self._keys else 0

    def wake_all(self) -> None:
        """Wake all subscriptions, so that they notice the shutdown."""
        self.wake(*self._keys)


class SharedReads:
    """Reads that concurrent readers of the same thing share."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``make``, or of an earlier read of ``key`` that is in progress.

        The key must differ between reads before and after a wake-up.
        """
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(make())
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # Cancelling one reader must not cancel the read of the others.
        shared_read: T = await asyncio.shield(task)
        return shared_read
