"""A stage process that is killed, too slow or unfit ends its stage FAILED, and the run says why."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from tailrace.v1 import run_pb2
from tests.integration.follow import until, until_terminal
from tests.integration.specs import state, train_only
from tests.stack import Stack

pytestmark = pytest.mark.parametrize("stack", ["embedded"], indirect=True)
"""One stack: database and broker do not see how a stage process ends."""

ONCE = {"max_attempts": 1}


def stage_process(run: run_pb2.Run) -> psutil.Process:
    """The process that executes the run's stage: it works in the attempt's folder."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if "training.stage" in (process.info["cmdline"] or []) and run.uid in (
            process.info["cwd"] or ""
        ):
            return process
    raise AssertionError(f"no stage process of {run.uid}")


def test_a_killed_stage_process_fails_its_run_within_15_seconds(stack: Stack) -> None:
    with stack.client() as client:
        run = client.create_run(train_only(5000, retry=ONCE))
        until(client, run.name, lambda r: r.stages[0].progress.done > 0)
        stage_process(run).send_signal(signal.SIGKILL)
        killed = time.monotonic()
        ended = until_terminal(client, run.name, 30)
        assert time.monotonic() - killed < 15
        assert state(ended) == "failed"
        assert (ended.error.reason, ended.error.signal) == ("STAGE_KILLED", "SIGKILL")
        assert ended.error.log_tail
        assert ended.stages[0].error == ended.error


def test_a_stage_that_is_too_slow_fails_with_the_reason(stack: Stack) -> None:
    with stack.client() as client:
        spec = train_only(100_000, retry=ONCE, execution={"train": {"timeout": 8}})
        ended = until_terminal(client, client.create_run(spec).name, 60)
        assert state(ended) == "failed"
        assert ended.error.reason == "STAGE_TIMEOUT"
        assert "8" in ended.error.message


def test_input_that_cannot_be_trained_on_fails_without_a_retry(stack: Stack) -> None:
    with stack.client() as client:
        short = {"max_steps": 5, "max_seq_length": 8}
        ended = until_terminal(client, client.create_run(train_only(train=short)).name, 60)
        assert state(ended) == "failed"
        assert not ended.error.retryable
        assert "max_seq_length" in ended.error.message
        assert len(ended.stages[0].attempts) == 1


@pytest.mark.parametrize("source", ["distilgpt2"])
def test_a_model_that_is_not_at_hand_is_never_replaced(stack: Stack, source: str) -> None:
    with stack.client() as client:
        spec = train_only(5, retry=ONCE)
        spec.model.source = source
        ended = until_terminal(client, client.create_run(spec).name, 90)
        assert state(ended) == "failed"
        assert source in ended.error.message
        assert "tailrace models import" in ended.error.message
