from __future__ import annotations

import asyncio
import contextlib

import pytest

from services.runtime.fair_gate import FairGate


class Calls:
    """Calls behind a gate, each of which runs until it is ended."""

    def __init__(self, gate: FairGate) -> None:
        self.gate = gate
        self.started: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    def call(self, caller: str, name: str) -> asyncio.Task[None]:
        async def run() -> None:
            async with self.gate.turn(caller):
                self.started.append(name)
                await self.ends.setdefault(name, asyncio.Event()).wait()

        return asyncio.create_task(run())

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
def calls() -> Calls:
    return Calls(FairGate(4))


async def test_one_caller_leaves_half_of_the_room_to_others(calls: Calls) -> None:
    tasks = [calls.call("a", f"a{i}") for i in range(50)]
    await asyncio.sleep(0)
    assert calls.started == ["a0", "a1"]
    tasks += [calls.call("b", "b0")]
    await asyncio.sleep(0)
    assert calls.started[-1] == "b0"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiting_callers_take_turns(calls: Calls) -> None:
    tasks = [calls.call(caller, f"{caller}{i}") for caller in "ab" for i in range(4)]
    tasks += [calls.call("c", "c0")]
    await asyncio.sleep(0)
    assert calls.started == ["a0", "a1", "b0", "b1"]
    await calls.end("a0")
    await calls.end("b0")
    await calls.end("a2")
    assert calls.started[4:] == ["a2", "b2", "c0"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_cancelled_calls_keep_no_room(calls: Calls) -> None:
    running = [calls.call("a", f"a{i}") for i in range(2)]
    waiting = [calls.call("a", f"w{i}") for i in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    # This one is cancelled after it was let in, before it runs.
    calls.ends["a0"].set()
    await asyncio.sleep(0)
    waiting[1].cancel()
    for task in (*waiting[:2], running[0]):
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(0)
    assert "w2" in calls.started
    await calls.end("a1")
    await calls.end("w2")
    assert calls.gate._total == 0
    assert not calls.gate._running
    assert not calls.gate._waiting
