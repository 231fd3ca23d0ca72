from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.domain.errors import DomainError, InvalidInput, Unavailable
from services.runtime.group_commit import MOST_TOGETHER, Groups


class Work:
    """Doubles numbers; holds the first group until ``go``, so that the others wait together."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def double(self, _: object, items: Sequence[int]) -> list[int | DomainError]:
        self.groups.append(list(items))
        self.begun.set()
        await self.go.wait()
        if 13 in items:
            raise RuntimeError("13")
        if 14 in items:
            raise Unavailable("GONE", "no database")
        return [InvalidInput.field("n", "is 7") if item == 7 else 2 * item for item in items]


async def submit_all(work: Work, *items: int) -> list[int | BaseException]:
    groups, double = Groups(), work.double
    tasks = [asyncio.create_task(groups.submit(None, double, item)) for item in items]
    await work.begun.wait()
    work.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_items_that_wait_together_are_done_together_and_in_order() -> None:
    work = Work()
    results = await submit_all(work, *range(20, 20 + 2 * MOST_TOGETHER))
    assert results == [2 * item for item in range(20, 20 + 2 * MOST_TOGETHER)]
    assert [item for group in work.groups for item in group] == list(
        range(20, 20 + 2 * MOST_TOGETHER)
    )
    assert len(work.groups) <= 3
    assert max(map(len, work.groups)) == MOST_TOGETHER


async def test_an_error_of_one_is_its_own() -> None:
    refused, fine, broken, also_fine = await submit_all(Work(), 7, 1, 13, 2)
    assert isinstance(refused, InvalidInput)
    assert (fine, also_fine) == (2, 4)
    assert isinstance(broken, RuntimeError)


async def test_an_absent_database_fails_all_at_once() -> None:
    work = Work()
    results = await submit_all(work, 1, 14, 2)
    assert sum(isinstance(result, Unavailable) for result in results) >= 2
    assert len(work.groups) <= 2


async def test_a_caller_that_leaves_stops_nobody() -> None:
    work = Work()
    groups, double = Groups(), work.double
    tasks = [asyncio.create_task(groups.submit(None, double, item)) for item in (1, 2, 3)]
    await work.begun.wait()
    tasks[1].cancel()
    work.go.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert (done[0], done[2]) == (2, 6)
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_items_with_equal_keys_come_into_different_groups_in_order() -> None:
    work = Work()
    groups, double = Groups(), work.double
    keys = {1: None, 2: "a", 3: "a", 4: None, 5: "b", 6: "a"}
    calls = (groups.submit(None, double, item, key=key) for item, key in keys.items())
    tasks = [asyncio.create_task(call) for call in calls]
    work.go.set()
    assert await asyncio.gather(*tasks) == [2 * item for item in keys]
    assert work.groups == [[1, 2, 4, 5], [3], [6]]
