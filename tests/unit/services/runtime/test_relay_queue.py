from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services.domain.stage import Stage, StageState
from services.runtime import relay_queue
from services.runtime.relay_queue import RelayQueue
from tailrace.formats.spec.run_spec import StageKind


def stages(run_uid: str) -> list[Stage]:
    return [
        Stage(
            run_uid=run_uid,
            stage_id="train",
            ordinal=0,
            kind=StageKind.TRAIN,
            pool="cpu",
            state=StageState.QUEUED,
            attempt=1,
            failures=0,
            max_attempts=1,
            progress=None,
            error=None,
            result=None,
            cached_from="",
            queue_time=None,
            start_time=None,
            end_time=None,
        )
    ]


async def test_there_is_room_only_while_a_relay_receives() -> None:
    queue = RelayQueue()
    assert queue.room == 0
    with queue.receiving():
        assert queue.room == relay_queue.MOST
        queue.put([stages("a"), stages("b")])
        assert queue.room == relay_queue.MOST - 2
    assert queue.room == 0


async def test_runs_are_taken_in_order() -> None:
    queue = RelayQueue()
    with queue.receiving():
        first = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        assert not first.done()
        queue.put([stages("a"), stages("b")])
        runs = [await first, await queue.take()]
    assert [run[0].run_uid for run in runs] == ["a", "b"]


async def test_nothing_is_queued_for_a_relay_that_has_stopped() -> None:
    queue = RelayQueue()
    with queue.receiving():
        pass
    queue.put([stages("a")])
    with queue.receiving():
        assert queue.room == relay_queue.MOST


async def test_a_run_whose_claim_has_expired_is_left_to_other_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = RelayQueue()
    with queue.receiving():
        monkeypatch.setattr(relay_queue, "HOLD", timedelta(seconds=-1))
        queue.put([stages("late")])
        monkeypatch.setattr(relay_queue, "HOLD", timedelta(seconds=5))
        queue.put([stages("in time")])
        assert (await queue.take())[0].run_uid == "in time"


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_queue, "MOST", 1)
    queue = RelayQueue()
    with queue.receiving():
        queue.put([stages("a")])
        assert queue.room == 0
        with pytest.raises(asyncio.QueueFull):
            queue.put([stages("b")])


def test_processes_claim_under_different_ids() -> None:
    assert RelayQueue().claim != RelayQueue().claim
