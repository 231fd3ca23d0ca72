from __future__ import annotations

import asyncio

import pytest

from services.runtime.meanwhile import meanwhile


async def test_work_is_done_while_its_caller_waits() -> None:
    done: list[int] = []
    task = meanwhile(done.append, 1)
    assert done == []
    await asyncio.sleep(0)
    assert done == [1]
    await task


async def test_its_result_and_its_error_are_for_who_asks() -> None:
    assert await meanwhile(int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        await meanwhile(int, "seven")
