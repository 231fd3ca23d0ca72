"""Reuse over real processes: nothing is trained, predicted or judged twice."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

import tailrace
from tailrace.protomap import to_mapping
from tailrace.v1 import artifact_pb2, run_pb2
from tests.integration.conftest import MakeStack
from tests.integration.follow import until_terminal
from tests.integration.specs import small, stage_states, state
from tests.stack import Stack

CONTAINS = [{"name": "answer_correctness"}, {"name": "contains"}]
WORKER_SECONDS = 2.0
"""What judging again may take of a worker."""


@pytest.fixture
def stack(stack_maker: MakeStack) -> Stack:
    """One empty stack with a worker: what was reused elsewhere must not matter here."""
    stack = stack_maker("embedded")
    stack.start_server()
    stack.start_worker()
    with stack.client() as client:
        client.seed_dataset("golden-v2")
    return stack


def results(run: run_pb2.Run) -> dict[str, Any]:
    return {stage.id: to_mapping(stage.result) for stage in run.stages}


def listed(client: tailrace.Client, run: run_pb2.Run) -> tuple[list[Any], list[Any], list[str]]:
    """The run's predictions, verdicts and the artifacts that are no checkpoints."""
    artifacts = [
        artifact.name
        for artifact in client.list_artifacts(run.name)
        if artifact.kind != artifact_pb2.ARTIFACT_KIND_CHECKPOINT
    ]
    return (
        list(client.list_predictions(run.name)),
        list(client.list_verdicts(run.name)),
        sorted(artifacts),
    )


def worker_seconds(run: run_pb2.Run) -> float:
    """For how long workers held leases of a run."""
    spans = [
        attempt.end_time.ToDatetime() - attempt.start_time.ToDatetime()
        for stage in run.stages
        for attempt in stage.attempts
    ]
    return sum(span.total_seconds() for span in spans)


@pytest.mark.timeout(300)
def test_only_what_changed_costs_a_worker(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with stack.client() as client:
        first = until_terminal(client, client.create_run(small(10, cache=True)).name)
        assert state(first) == "succeeded", first

        # The same again: done when it is accepted, with the same results.
        again = client.create_run(small(10, cache=True, labels={"second": "yes"}))
        assert state(again) == "succeeded"
        assert stage_states(again) == dict.fromkeys(("train", "infer", "judge"), "skipped")
        assert results(again) == results(first)
        assert listed(client, again) == listed(client, first)
        assert worker_seconds(again) == 0
        ends = [batch.end for batch in client.stream_logs(again.name, follow=True)]
        assert [end.cached_from for end in ends] == [
            f"{first.name}/stages/{stage.id}" for stage in first.stages
        ]

        # Another judge: judging alone.
        judged = client.create_run(small(10, cache=True, judges=CONTAINS))
        assert stage_states(judged) == {"train": "skipped", "infer": "skipped", "judge": "queued"}
        judged = until_terminal(client, judged.name)
        assert state(judged) == "succeeded", judged
        assert {score.judge for score in judged.stages[2].result.judge.scores} == {
            "answer_correctness",
            "contains",
        }

        # Judged again by name, cache or not: no training, and the same verdicts.
        spec = {"predictions": first.name, "judges": CONTAINS[:1], "cache": False}
        rejudged = until_terminal(client, client.create_run(spec).name)
        assert state(rejudged) == "succeeded", rejudged
        assert [stage.id for stage in rejudged.stages] == ["judge"]
        assert results(rejudged)["judge"] == results(first)["judge"]
        assert list(client.list_verdicts(rejudged.name)) == list(client.list_verdicts(first.name))
        known = client.create_run(spec | {"cache": True})
        assert stage_states(known) == {"judge": "skipped"}

        # The wall clock of a busy machine is no measure: it is told, not asserted.
        with capsys.disabled():
            seconds = worker_seconds(rejudged)
            verdict = "holds" if seconds < WORKER_SECONDS else f"short on {os.getloadavg()[0]:.0f}"
            sys.stdout.write(f"\njudging again: {seconds:.2f} s of a worker ({verdict})\n")

        # Other steps to the same model: training alone, and the rest is found when it has ended.
        retrained = client.create_run(small(10, cache=True, train={"log_every_steps": 5}))
        assert stage_states(retrained)["train"] == "queued"
        retrained = until_terminal(client, retrained.name)
        assert stage_states(retrained) == {
            "train": "succeeded",
            "infer": "skipped",
            "judge": "skipped",
        }
        assert results(retrained)["judge"] == results(first)["judge"]

        compared = client.compare_runs([first.name, judged.name])
        assert [each.path for each in compared.spec_differences] == ["judges"]
        (verdicts,) = compared.verdicts
        assert verdicts.shared == 13
        assert (verdicts.comparison.wins, verdicts.comparison.losses) == (0, 0)
