"""Wake-ups within the process: they say when to look at the store, never what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

OUTBOX = "outbox"
"""The key under which the outbox relay is woken; runs are woken under their uid."""


class Shutdown:
    """Tells every loop and stream of the process to end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def begun(self) -> bool:
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


class Wakeups:
    """Subscriptions by key: a run's uid, or :data:`OUTBOX`."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    @contextmanager
    def subscribe(self, *keys: str) -> Iterator[Subscription]:
        """A subscription to all of ``keys`` for the length of the block."""
        subscription = Subscription()
        for key in keys:
            self._subscriptions.setdefault(key, set()).add(subscription)
        try:
            yield subscription
        finally:
            for key in keys:
                waiting = self._subscriptions[key]
                waiting.discard(subscription)
                if not waiting:
                    del self._subscriptions[key]

    def wake(self, *keys: str) -> None:
        """Wake all subscriptions to any of ``keys``; call it after the commit."""
        for key in keys:
            for subscription in self._subscriptions.get(key, ()):
                subscription.wake()

    def wake_all(self) -> None:
        """Wake everybody, so that they notice the shutdown."""
        self.wake(*self._subscriptions)
