"""Group commit: calls that wait at the same time share one transaction."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.domain.errors import DomainError, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

Work = Callable[[Any, Sequence[Item]], Awaitable[Sequence[Result | DomainError]]]
"""Function that processes items, in order, in one transaction. An error in place of a result fails
that item alone; a raised error fails the transaction."""

MOST_TOGETHER = 64
"""Maximum number of items of one transaction."""

MOST_WAITING = 10_000
"""Maximum number of waiting items of one kind of work; further items are refused."""


@dataclass(frozen=True)
class _Entry:
    item: Any
    key: Hashable
    future: asyncio.Future[Any]


class Groups:
    """Items of each kind of work, gathered while the transaction before them is in progress.

    An item that comes alone starts at once, unless it allows time for others to join.
    """

    def __init__(self) -> None:
        self._waiting: dict[Work[Any, Any], list[_Entry]] = {}
        self._tasks: dict[Work[Any, Any], asyncio.Task[None]] = {}

    async def submit(
        self,
        context: Any,
        work: Work[Item, Result],
        item: Item,
        *,
        key: Hashable = None,
        gather_seconds: float = 0.0,
    ) -> Result:
        """Process ``item`` in a transaction with others and return its result.

        Args:
            context: First argument of ``work``.
            work: Function that processes the items of a transaction.
            item: This call's item.
            key: Items with equal keys come into different transactions, in order, so that each
                sees the one before it. ``None`` equals nothing.
            gather_seconds: Time to wait for other items.

        Raises:
            Unavailable: Too many items wait (OVERLOADED).
            Exception: The item's error.
        """
        waiting = self._waiting.setdefault(work, [])
        if len(waiting) >= MOST_WAITING:
            raise Unavailable("OVERLOADED", "too many calls wait for the database: try again")
        entry = _Entry(item, key, asyncio.get_running_loop().create_future())
        waiting.append(entry)
        if work not in self._tasks:
            # Its log lines must not carry the context of one of the calls.
            blank = contextvars.Context()
            serve = self._serve(context, work, gather_seconds)
            self._tasks[work] = asyncio.create_task(serve, context=blank)
        result: Result = await entry.future
        return result

    async def _serve(self, context: Any, work: Work[Any, Any], gather_seconds: float) -> None:
        waiting = self._waiting[work]
        try:
            while waiting:
                await asyncio.sleep(gather_seconds)
                await _process(context, work, _next_group(waiting))
        finally:
            del self._tasks[work]


def _next_group(waiting: list[_Entry]) -> list[_Entry]:
    """Remove the entries of the next transaction from ``waiting`` and return them."""
    group: list[_Entry] = []
    postponed: list[_Entry] = []
    keys: set[Hashable] = set()
    seen = 0
    for entry in waiting:
        if len(group) == MOST_TOGETHER:
            break
        seen += 1
        if entry.key in keys:
            postponed.append(entry)
        else:
            group.append(entry)
            if entry.key is not None:
                keys.add(entry.key)
    waiting[:seen] = postponed
    return group


async def _process(context: Any, work: Work[Any, Any], entries: list[_Entry]) -> None:
    outcomes: Sequence[Any]
    try:
        outcomes = await work(context, [entry.item for entry in entries])
    except Unavailable as error:
        outcomes = [error] * len(entries)
    except Exception as error:  # noqa: BLE001  # the callers raise it
        if len(entries) > 1:
            # One item is at fault: retry them one by one so that the others succeed.
            for entry in entries:
                await _process(context, work, [entry])
            return
        outcomes = [error]
    for entry, outcome in zip(entries, outcomes, strict=True):
        # A call that was cancelled has cancelled its future.
        if entry.future.done():
            continue
        if isinstance(outcome, Exception):
            entry.future.set_exception(outcome)
        else:
            entry.future.set_result(outcome)
