from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services import handover
from services.domain.stage import Stage, StageState
from services.handover import Handover
from tailrace.formats.run_spec import StageKind


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


async def test_there_is_room_only_while_a_relay_receives() -> None:
    made = Handover()
    assert made.room == 0
    with made.receiving():
        assert made.room == handover.MOST
        made.put([chain("a"), chain("b")])
        assert made.room == handover.MOST - 2
    assert made.room == 0


async def test_chains_are_taken_in_order() -> None:
    made = Handover()
    with made.receiving():
        taking = asyncio.create_task(made.take())
        await asyncio.sleep(0)
        made.put([chain("a"), chain("b")])
        assert [(await taking)[0].run_uid, (await made.take())[0].run_uid] == ["a", "b"]


async def test_what_waited_too_long_is_left_to_other_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Handover()
    with made.receiving():
        monkeypatch.setattr(handover, "HOLD", timedelta(seconds=-1))
        made.put([chain("late")])
        monkeypatch.setattr(handover, "HOLD", timedelta(seconds=5))
        made.put([chain("in time")])
        assert (await made.take())[0].run_uid == "in time"


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "MOST", 1)
    made = Handover()
    with made.receiving():
        made.put([chain("a")])
        assert made.room == 0
        with pytest.raises(asyncio.QueueFull):
            made.put([chain("b")])


def test_processes_claim_under_names_of_their_own() -> None:
    assert Handover().claim != Handover().claim
