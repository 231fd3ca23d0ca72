from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.adapters.broker import Chain
from services.domain.stage import Stage, StageState
from services.runtime import relay_queue
from services.runtime.relay_queue import Handover
from tailrace.formats.spec.run_spec import StageKind


def chain(run_uid: str) -> list[Stage]:
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


def worded(stages: Sequence[Stage]) -> Chain:
    return Chain("cpu", "tailrace.train", stages[0].run_uid)


async def test_there_is_room_only_while_a_relay_receives() -> None:
    made = Handover()
    assert made.room == 0
    with made.receiving(worded):
        assert made.room == relay_queue.MOST
        made.put(made.prepare([chain("a"), chain("b")]))
        assert made.room == relay_queue.MOST - 2
    assert made.room == 0


async def test_chains_are_taken_in_order_and_put_into_words_before() -> None:
    made = Handover()
    with made.receiving(worded):
        taking = asyncio.create_task(made.take())
        prepared = made.prepare([chain("a"), chain("b")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not taking.done()
        assert [handed.chain.result().message for handed in prepared] == ["a", "b"]
        made.put(prepared)
        taken = [await taking, await made.take()]
    assert [handed.stages[0].run_uid for handed in taken] == ["a", "b"]


async def test_nothing_is_prepared_for_a_relay_that_has_stopped() -> None:
    made = Handover()
    with made.receiving(worded):
        pass
    assert made.prepare([chain("a")]) == []


async def test_what_waited_too_long_is_left_to_other_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Handover()
    with made.receiving(worded):
        monkeypatch.setattr(relay_queue, "HOLD", timedelta(seconds=-1))
        made.put(made.prepare([chain("late")]))
        monkeypatch.setattr(relay_queue, "HOLD", timedelta(seconds=5))
        made.put(made.prepare([chain("in time")]))
        assert (await made.take()).stages[0].run_uid == "in time"


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_queue, "MOST", 1)
    made = Handover()
    with made.receiving(worded):
        made.put(made.prepare([chain("a")]))
        assert made.room == 0
        with pytest.raises(asyncio.QueueFull):
            made.put(made.prepare([chain("b")]))


def test_processes_claim_under_names_of_their_own() -> None:
    assert Handover().claim != Handover().claim
