"""Handles of runs, blocking and asyncio by the same tests (see ``connect`` in conftest)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tailrace import errors
from tailrace.retry import RetryPolicy
from tailrace.v1 import artifact_pb2, run_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def client(connect: Any, plane: Any, quick: RetryPolicy) -> Any:
    with connect(plane.address, retry=quick) as connected:
        yield connected


def test_a_created_run_is_waited_for(client: Any, plane: Any, spec: Any) -> None:
    plane.faults.break_after["WatchRun"] = [1, 1]
    created = client.create_run(spec, run_id="demo")
    run = client.run(created).wait()
    assert (run.name, run.state) == ("runs/demo", run_pb2.RUN_STATE_SUCCEEDED)


def test_waiting_ends_at_its_timeout(client: Any, plane: Any, monkeypatch: Any) -> None:
    original = plane.faults.enter

    def enter(method: str, request: Any, context: Any) -> None:
        original(method, request, context)
        time.sleep(0.7)

    monkeypatch.setattr(plane.faults, "enter", enter)
    began = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded, match=r"runs/demo has not ended after 0\.3 s"):
        client.run("demo").wait(timeout=0.3)
    assert time.monotonic() - began < 0.7


def test_waiting_for_a_plane_that_stays_away_ends_too(client: Any, plane: Any) -> None:
    plane.faults.codes["WatchRun"] = [UNAVAILABLE] * 1000
    began = time.monotonic()
    with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
        client.run("demo").wait(timeout=0.3)
    assert time.monotonic() - began < 1.5


def test_a_handle_has_what_belongs_to_its_run(client: Any, plane: Any, spec: Any) -> None:
    run = client.run("demo")
    client.create_run(spec, run_id="demo")
    assert run.name == "runs/demo"
    assert run.get().name == "runs/demo"
    assert run.retry().name == "runs/demo"
    assert sum(len(batch.lines) for batch in run.logs(follow=True)) == 20
    assert [point.step for batch in run.metrics() for point in batch.points] == [1, 2, 3, 4, 5]
    assert [prediction.text for prediction in run.predictions()] == ["Answer: 2"]
    assert [verdict.judge for verdict in run.verdicts(outcome="pass")] == ["answer_correctness"]
    assert [snapshot.revision for snapshot in run.watch()] == [1, 2, 3]
    with pytest.raises(errors.FailedPrecondition):
        run.cancel()
    named = {getattr(r, "name", "") or getattr(r, "parent", "") for _, r in plane.faults.calls[1:]}
    assert named == {"runs/demo"}


def test_the_newest_model_is_downloaded(client: Any, plane: Any, tmp_path: Path) -> None:
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_MODEL, {"config.json": b"old"})
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_MODEL, {"config.json": b"new"}, attempt=2)
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_SPLIT, {"split.json": b"{}"})
    artifact = client.run("demo").download("model", str(tmp_path / "model"))
    assert artifact.attempt == 2
    assert (tmp_path / "model/config.json").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_run_without_the_artifact_says_so(client: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="runs/demo has no model yet"):
        client.run("demo").download("model", tmp_path)
    with pytest.raises(ValueError, match="'weights' is not one of"):
        client.run("demo").download("weights", tmp_path)
