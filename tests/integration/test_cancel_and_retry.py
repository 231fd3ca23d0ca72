"""Cancelling in every state, and retrying what failed or was cancelled."""

from __future__ import annotations

import pytest

from tailrace import errors
from tailrace.v1 import run_pb2
from tests.integration.follow import until, until_step, until_terminal
from tests.integration.specs import small, stage_states, state, train_only
from tests.stack import Stack

pytestmark = pytest.mark.parametrize("stack", ["production"], indirect=True)
"""One stack: unit tests of these use cases run on both databases."""

RUNNING = run_pb2.STAGE_STATE_RUNNING


def test_a_queued_run_is_cancelled_at_once(stack: Stack) -> None:
    with stack.client() as client:
        run = client.create_run(train_only(5, execution={"train": {"pool": "nobody"}}))
        waiting = until(client, run.name, lambda r: bool(r.stages[0].waiting_reason))
        assert "nobody" in waiting.stages[0].waiting_reason
        assert state(client.cancel_run(run.name)) == "cancelled"
        assert state(client.cancel_run(run.name)) == "cancelled"


def test_a_running_run_is_cancelled_and_continues_on_retry(stack: Stack) -> None:
    with stack.client() as client:
        run = client.create_run(train_only(2000, train={"save_every_steps": 20}))
        until_step(client, run.name, 20)
        assert state(client.cancel_run(run.name)) == "cancelling"
        cancelled = until_terminal(client, run.name, 30)
        assert state(cancelled) == "cancelled"
        assert stage_states(cancelled) == {"train": "cancelled"}
        with pytest.raises(errors.FailedPrecondition):
            client.retry_run(client.create_run(small(5, labels={"x": "y"})).name)

        client.retry_run(run.name)
        again = until(client, run.name, lambda r: len(r.stages[0].attempts) == 2)
        assert again.state in (run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_QUEUED)
        until(client, run.name, lambda r: r.stages[0].progress.done > 20)
        client.cancel_run(run.name)
        assert state(until_terminal(client, run.name, 30)) == "cancelled"


def test_a_run_is_cancelled_between_stages(stack: Stack) -> None:
    with stack.client() as client:
        nowhere = {"infer": {"pool": "nobody"}}
        run = client.create_run(small(5, execution=nowhere))
        done = run_pb2.STAGE_STATE_SUCCEEDED
        until(client, run.name, lambda r: r.stages[0].state == done)
        assert state(client.cancel_run(run.name)) == "cancelled"
        states = stage_states(client.get_run(run.name))
        assert states == {"train": "succeeded", "infer": "cancelled", "judge": "cancelled"}
