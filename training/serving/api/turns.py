"""Turns at a thread, given to clients fairly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from training.serving.queue import FairQueue

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """A thread for work that must not stop the event loop, one call at a time."""

    def __init__(self, places: int) -> None:
        """Begin idle; ``places`` is the maximum number of calls that wait."""
        self._queue: FairQueue[tuple[str, asyncio.Future[None]]] = FairQueue(places, 1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prompts")
        self._is_busy = False

    async def call(
        self,
        client: str,
        cost: int,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a function in the thread when it is the client's turn.

        Args:
            client: Name of the client; the one with the smallest costs so far comes next.
            cost: Cost of the call.
            function: The function.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Raises:
            FullError: Too many calls wait.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._queue.add(client, [(client, turn)])
        self._next()
        try:
            await turn
            return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))
        finally:
            # A caller that gave up before its turn is skipped when the turn comes.
            if turn.done() and not turn.cancelled():
                self._queue.charge(client, cost)
                self._end(client)

    def _next(self) -> None:
        while not self._is_busy and len(self._queue):
            client, turn = self._queue.pop()
            if turn.cancelled():
                self._queue.end(client)
            else:
                self._is_busy = True
                turn.set_result(None)

    def _end(self, client: str) -> None:
        self._is_busy = False
        self._queue.end(client)
        self._next()
