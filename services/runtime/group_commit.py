"""Group commit: calls that wait at the same time share one transaction."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from services.domain.errors import DomainError, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

Work = Callable[[Any, Sequence[Item]], Awaitable[Sequence[Result | DomainError]]]
"""Does something for each item, in order, in one transaction. An error in place of a result fails
that item alone; one that it raises fails the transaction."""

MOST_TOGETHER = 64
"""Items of one transaction."""

MOST_WAITING = 10_000
"""Items of one kind that may wait; further ones are turned away."""

_Entry = tuple[Any, asyncio.Future[Any]]


class Groups:
    """Gathers the items of each kind of work while the transaction before them is under way.

    Nothing waits for company, unless it says for how long: an item that comes alone is begun at
    once.
    """

    def __init__(self) -> None:
        self._waiting: dict[Work[Any, Any], list[_Entry]] = {}
        self._serving: dict[Work[Any, Any], asyncio.Task[None]] = {}

    async def submit(
        self, context: Any, work: Work[Item, Result], item: Item, *, gather_seconds: float = 0.0
    ) -> Result:
        """The result for ``item``. Raises its error, and ``Unavailable`` (OVERLOADED)."""
        waiting = self._waiting.setdefault(work, [])
        if len(waiting) >= MOST_WAITING:
            raise Unavailable("OVERLOADED", "too many calls wait for the database: try again")
        entry: _Entry = (item, asyncio.get_running_loop().create_future())
        waiting.append(entry)
        if work not in self._serving:
            # What is logged in there belongs to no single call.
            blank = contextvars.Context()
            serve = self._serve(context, work, gather_seconds)
            self._serving[work] = asyncio.create_task(serve, context=blank)
        result: Result = await entry[1]
        return result

    async def _serve(self, context: Any, work: Work[Any, Any], gather_seconds: float) -> None:
        waiting = self._waiting[work]
        try:
            while waiting:
                await asyncio.sleep(gather_seconds)
                entries = waiting[:MOST_TOGETHER]
                del waiting[:MOST_TOGETHER]
                await _do(context, work, entries)
        finally:
            del self._serving[work]


async def _do(context: Any, work: Work[Any, Any], entries: list[_Entry]) -> None:
    outcomes: Sequence[Any]
    try:
        outcomes = await work(context, [item for item, _ in entries])
    except Unavailable as error:
        outcomes = [error] * len(entries)
    except Exception as error:  # noqa: BLE001  # whoever waits for it gets it
        if len(entries) > 1:
            # The fault of one of them; the others shall not suffer.
            for entry in entries:
                await _do(context, work, [entry])
            return
        outcomes = [error]
    for (_, future), outcome in zip(entries, outcomes, strict=True):
        # A caller that went away has cancelled its future.
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
