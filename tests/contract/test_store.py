"""The store that earlier code wrote (:mod:`tests.contract.make_store`) works with this code."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tailrace.protomap import enum_word, spec_from_proto, to_mapping
from tailrace.v1 import run_pb2
from tests.contract.command_line import Result, run_command
from tests.integration.follow import until_step, until_terminal
from tests.integration.specs import stage_states, state
from tests.servers.valkey import Valkey
from tests.stack import Stack

ARCHIVE = Path(__file__).parent / "store/data.tar.xz"

STATES = {
    "runs/baseline": "succeeded",
    "runs/candidate": "succeeded",
    "runs/rejudged": "succeeded",
    "runs/failed": "failed",
    "runs/stopped": "cancelled",
    "runs/waiting": "cancelled",
}


@dataclass(frozen=True)
class Store:
    """The store behind a control plane of this code."""

    stack: Stack
    specs: dict[str, list[Any]]
    """By run, the specs as the earlier code stored them: the given one and the resolved one."""

    def cli(self, *arguments: str) -> Result:
        """Run a command, which must succeed."""
        result = run_command(*arguments, "--server", self.stack.address)
        assert result.code == 0, result
        return result

    def json(self, *arguments: str) -> Any:
        """Return the document that a command prints."""
        return json.loads(self.cli(*arguments, "--json").out)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    data = folder / "data"
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(data, filter="data")
    with closing(sqlite3.connect(data / "tailrace.db")) as rows:
        specs = {
            f"runs/{run_id}": [json.loads(spec) for spec in stored]
            for run_id, *stored in rows.execute("SELECT run_id, spec, resolved_spec FROM runs")
        }
    valkey = Valkey(folder)
    url = f"sqlite+aiosqlite:///{data}/tailrace.db"
    settings = {"pools": "cpu,spare", "slots": "2", "warm_start": "false"}
    stack = Stack(folder, url, valkey.url, **settings)
    try:
        stack.start_server()
        yield Store(stack, specs)
    finally:
        stack.stop()
        valkey.stop()


def test_everything_is_listed(store: Store) -> None:
    states = {run["name"]: run["state"] for run in store.json("runs", "list")}
    assert states == STATES
    assert [model["name"] for model in store.json("models", "list")] == ["models/tiny"]
    assert [line["name"] for line in store.json("datasets", "list")] == ["datasets/golden-v2@1"]
    assert store.json("evalsets", "list")["imported"][0]["name"] == "evalsets/sums@1"
    assert store.json("baselines", "get", "main")["run"] == "runs/baseline"
    workers = store.json("workers", "list", "--all")
    assert [worker["name"] for worker in workers] == ["workers/local-1"]


@pytest.mark.parametrize("name", STATES)
def test_every_value_of_a_stored_spec_is_read(store: Store, name: str) -> None:
    with store.stack.client() as client:
        run = client.get_run(name)
    for stored, message in zip(store.specs[name], (run.spec, run.resolved_spec), strict=True):
        spec_from_proto(message)
        lost = Counter(_values(stored)) - Counter(_values(to_mapping(message)))
        assert not lost


def test_results_gates_logs_and_predictions_are_read(store: Store) -> None:
    with store.stack.client() as client:
        run = client.get_run("runs/candidate")
        (gates, failed), stages = _gates(run), {stage.id: stage.result for stage in run.stages}
        assert (gates, failed) == (5, ["lift"])
        assert stages["train"].train.steps == 20
        assert stages["infer"].infer.predictions == 2 * (13 + 4)
        verdicts = sum(score.total for score in stages["judge"].judge.scores)
        assert len(list(client.list_verdicts(run.name))) == verdicts
        assert len(list(client.list_predictions(run.name))) == stages["infer"].infer.predictions
        # The client compares the lines with the digest that was stored with them.
        assert any(batch.lines for batch in client.stream_logs(run.name))
        assert any(batch.points for batch in client.stream_metrics(run.name))


def test_runs_are_reported_compared_verified_and_downloaded(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    store.cli("runs", "report", "candidate", "-o", str(page))
    assert all(gate in page.read_text(encoding="utf-8") for gate in ("no-worse", "lift"))
    compared = store.json("runs", "compare", "baseline", "candidate")
    assert "train.seed" in {difference["path"] for difference in compared["spec_differences"]}
    assert {line["shared"] for line in compared["verdicts"]} == {13, 4}
    steps = [line["step"] for line in store.json("runs", "verify", "stopped")["certificates"]]
    assert steps[0] == 100
    store.cli("runs", "download", "baseline", "-o", str(tmp_path / "run"))
    assert (tmp_path / "run/final_model/model.safetensors").stat().st_size > 30_000


@pytest.mark.timeout(240)
def test_runs_are_retried_and_judged_again(store: Store) -> None:
    store.stack.start_worker()
    with store.stack.client() as client:
        store.cli("runs", "retry", "failed")
        store.cli("runs", "retry", "stopped")
        judged = store.json("runs", "judge", "candidate", "--judge", "contains")["name"]

        # It goes on from the checkpoint that the earlier code saved; its end is not awaited.
        until_step(client, "runs/stopped", 200)
        client.cancel_run("runs/stopped")

        again = until_terminal(client, judged)
        assert state(again) == "succeeded", again
        scores = again.stages[0].result.judge.scores
        before = client.get_run("runs/candidate").stages[2].result.judge.scores
        assert [score.total for score in scores] == [
            score.total for score in before if score.judge == "contains"
        ]

        failed = until_terminal(client, "runs/failed")
        assert state(failed) == "succeeded", failed
        assert stage_states(failed) == dict.fromkeys(("train", "infer", "judge"), "succeeded")
        # What was trained before was not trained again.
        assert [len(stage.attempts) for stage in failed.stages] == [1, 2, 1]
        assert _gates(failed) == (1, [])

        assert state(until_terminal(client, "runs/stopped")) == "cancelled"
        batches = list(client.stream_metrics("runs/stopped"))
    steps = [point.step for batch in batches if batch.attempt == 2 for point in batch.points]
    assert min(steps) > 100
    certificates = store.json("runs", "verify", "stopped")["certificates"]
    attempts = [(line["step"], line["attempt"]) for line in certificates]
    assert attempts[:2] == [(100, 1), (200, 2)]


def _gates(run: run_pb2.Run) -> tuple[int, list[str]]:
    """Return the number of gates, and the names of those that do not hold."""
    outcomes = run_pb2.GateOutcome.DESCRIPTOR
    failed = [gate.name for gate in run.gates if enum_word(outcomes, gate.outcome) != "passed"]
    return len(run.gates), failed


def _values(data: Any) -> Iterator[str]:
    """Yield the values of a spec without their keys, which a migration may rename."""
    if isinstance(data, dict):
        for part in data.values():
            yield from _values(part)
    elif isinstance(data, list):
        for part in data:
            yield from _values(part)
    else:
        yield json.dumps(float(data) if isinstance(data, int) else data)
