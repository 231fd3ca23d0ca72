"""Wake-ups within the process: they say when to look at the store, never what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

OUTBOX = "outbox"
"""The key under which the outbox relay is woken; runs are woken under their uid."""


class Shutdown:
    """Tells every loop and stream of the process to end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def in_progress(self) -> bool:
        """Whether the process is ending."""
        return self._event.is_set()

    def begin(self) -> None:
        """End every loop and stream."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the process is ending."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> bool:
        """Wait; whether the process is ending, which also ends the wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Subscription:
    """One waiter; any number of wake-ups in between count as one, so it never grows."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """End the current or next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next wake-up, at once if there was one since the last wait, or in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class _Key:
    """Who waits for a key, and how often they were woken."""

    def __init__(self) -> None:
        self.waiting: set[Subscription] = set()
        self.wakes = 0


class Wakeups:
    """Subscriptions by key: a run's uid, or :data:`OUTBOX`."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    @contextmanager
    def subscribe(self, *keys: str) -> Iterator[Subscription]:
        """A subscription to all of ``keys`` for the length of the block."""
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
        """How often the subscriptions to ``key`` were woken, as long as there are any."""
        return self._keys[key].wakes if key in self._keys else 0

    def wake_all(self) -> None:
        """Wake everybody, so that they notice the shutdown."""
        self.wake(*self._keys)


class SharedReads:
    """Readers that want the same at the same time read it once."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``make`` returns, or an earlier reader's that is still under way, for ``key``.

        The key must tell apart what was read before and after a wake-up.
        """
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(make())
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # A reader that goes away must not take the others' read along.
        found: T = await asyncio.shield(task)
        return found
