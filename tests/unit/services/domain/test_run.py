from __future__ import annotations

import pytest

from services.domain.errors import InvalidInput
from services.domain.run import (
    RUN_TERMINAL,
    RUN_TRANSITIONS,
    RunState,
    StoredSpec,
    check_run_id,
    new_run_id,
    new_run_uid,
    parse_run_name,
)
from services.domain.stage import STAGE_DONE, STAGE_TRANSITIONS, StageState
from tailrace.formats.dispatch import TaskId
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import GateMetric, RunSpec


def reachable(start: object, moves: object) -> set[object]:
    assert hasattr(moves, "__getitem__")
    states, todo = {start}, [start]
    while todo:
        for state in moves[todo.pop()]:
            if state not in states:
                states.add(state)
                todo.append(state)
    return states


def test_every_state_can_be_reached_and_only_retries_leave_a_terminal_one() -> None:
    assert set(RUN_TRANSITIONS) == set(RunState)
    assert reachable(RunState.QUEUED, RUN_TRANSITIONS) == set(RunState)
    for state in RUN_TERMINAL:
        assert RUN_TRANSITIONS[state] <= {RunState.QUEUED}
    assert RUN_TRANSITIONS[RunState.CANCELLING] == {RunState.CANCELLED}
    assert set(STAGE_TRANSITIONS) == set(StageState)
    assert reachable(StageState.PENDING, STAGE_TRANSITIONS) == set(StageState)
    for done in STAGE_DONE:
        assert STAGE_TRANSITIONS[done] == frozenset()


def test_uids_fit_into_task_ids() -> None:
    uid = new_run_uid()
    assert TaskId.parse(str(TaskId(uid, "train", 1))) == TaskId(uid, "train", 1)
    assert new_run_uid() != uid


def test_names_are_parsed_and_refused() -> None:
    assert parse_run_name(f"runs/{new_run_id()}").startswith("run-")
    uid = new_run_uid()
    assert parse_run_name(f"runs/{uid}") == uid
    for name in ("", "runs/", "runs/-a", "runs/A", "models/a", "runs/a/b", "runs/" + "a" * 64):
        with pytest.raises(InvalidInput, match="parent"):
            parse_run_name(name, "parent")
    with pytest.raises(InvalidInput, match="run_id"):
        check_run_id("9", "run_id")
    with pytest.raises(InvalidInput, match="form of a uid"):
        check_run_id("a" * 32, "run_id")


def test_a_stored_spec_is_read_without_its_bounds() -> None:
    stored = StoredSpec(
        {
            "train": {"seed": 7, "of_another_release": {"rank": 1}},
            "judges": [{"name": "contains", "contains": {"values": ["x"] * 500}}],
            "gates": [{"name": "g", "metric": "lift", "minimum": 0.5}],
            "retry": {"max_attempts": 10_000},
        }
    )
    with pytest.raises(SpecError):
        parse(RunSpec, stored.mapping)
    spec = stored.spec
    assert spec.train is not None
    assert spec.train.seed == 7
    assert spec.judges[0].contains is not None
    assert len(spec.judges[0].contains.values) == 500
    assert spec.gates[0].metric is GateMetric.LIFT
    assert spec.retry.max_attempts == 10_000
    assert spec.cache
    assert stored.spec is spec
