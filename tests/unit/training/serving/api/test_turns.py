from __future__ import annotations

import asyncio
import threading
import time

import pytest

from training.serving.api.turns import Turns
from training.serving.queue import FullError


async def test_calls_run_in_a_thread_and_return_or_raise() -> None:
    turns = Turns(4)
    assert await turns.call("a", 1, threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await turns.call("a", 1, lambda: 1 // 0)
    assert await turns.call("a", 1, lambda: 2) == 2


async def test_a_client_with_few_calls_does_not_wait_for_all_of_another() -> None:
    turns, order = Turns(20), []
    hold = threading.Event()
    first = asyncio.create_task(turns.call("a", 10, hold.wait))
    await asyncio.sleep(0)
    names = [("a", number) for number in range(4)] + [("b", 0)]
    tasks = [asyncio.create_task(turns.call(n, 10, order.append, (n, k))) for n, k in names]
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(first, *tasks)
    assert order == [("b", 0), ("a", 0), ("a", 1), ("a", 2), ("a", 3)]


async def test_a_caller_that_gives_up_lets_others_go_on() -> None:
    turns = Turns(20)
    hold = threading.Event()
    running = asyncio.create_task(turns.call("a", 1, hold.wait))
    waiting = [asyncio.create_task(turns.call("b", 1, time.time)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    running.cancel()
    hold.set()
    assert await waiting[1] <= await waiting[2]
    assert waiting[0].cancelled()
    assert await turns.call("c", 1, lambda: "after") == "after"


async def test_too_many_calls_are_refused() -> None:
    turns = Turns(2)
    hold = threading.Event()
    tasks = [asyncio.create_task(turns.call(name, 1, hold.wait)) for name in "abc"]
    await asyncio.sleep(0)
    with pytest.raises(FullError, match="2 requests are waiting"):
        await turns.call("d", 1, time.time)
    hold.set()
    await asyncio.gather(*tasks)
