"""A gate that lets waiting calls of different callers pass in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

MOST_AT_ONCE = 512
"""Maximum number of calls in progress."""


class FairGate:
    """Calls in progress, limited in number: half of them may be of one caller.

    Further calls wait, those of each caller in order, and callers take turns: thousands of calls of
    one delay the next call of another by those in progress alone.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._share = max(1, most // 2)
        self._running: dict[Hashable, int] = {}
        self._total = 0
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, caller: Hashable) -> AsyncIterator[None]:
        """Wait until a call of ``caller`` may run, and count it for the duration of the block."""
        if self._may_run(caller):
            self._start(caller)
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            self._end(caller)

    def _may_run(self, caller: Hashable) -> bool:
        return self._total < self._most and self._running.get(caller, 0) < self._share

    def _start(self, caller: Hashable) -> None:
        self._total += 1
        self._running[caller] = self._running.get(caller, 0) + 1

    def _end(self, caller: Hashable) -> None:
        self._total -= 1
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        self._admit()

    async def _wait(self, caller: Hashable) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end(caller)
            raise

    def _admit(self) -> None:
        """Start waiting calls, one caller after the other, while there is room."""
        for caller in list(self._waiting):
            if self._total >= self._most:
                return
            turns = self._waiting[caller]
            while turns and turns[0].done():
                turns.popleft()  # The call was cancelled.
            if turns and self._may_run(caller):
                self._start(caller)
                turns.popleft().set_result(None)
                self._waiting.move_to_end(caller)
            if not turns:
                del self._waiting[caller]
