from __future__ import annotations

import threading

import pytest

from services.runtime.off_loop import LARGE_BYTES, run_off_loop


async def test_a_large_message_is_processed_in_a_thread_and_a_small_one_at_once() -> None:
    here = threading.get_ident()
    assert await run_off_loop(LARGE_BYTES - 1, threading.get_ident) == here
    assert await run_off_loop(LARGE_BYTES, threading.get_ident) != here


@pytest.mark.parametrize("size", [0, LARGE_BYTES])
async def test_the_result_and_the_error_reach_the_caller(size: int) -> None:
    assert await run_off_loop(size, int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        await run_off_loop(size, int, "seven")
