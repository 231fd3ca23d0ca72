"""Learning from preferences, on a whole stack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace.v1 import artifact_pb2
from tests.integration.follow import until_terminal
from tests.integration.specs import state, train_only
from tests.stack import Stack

PAIRS = "".join(
    json.dumps({"prompt": f"What is {i} + {i}?", "chosen": str(2 * i), "rejected": f"Not {i}"})
    + "\n"
    for i in range(1, 21)
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_run_learns_preferences_and_publishes_its_reference(stack: Stack) -> None:
    train = {"dpo": {"beta": 0.5}, "eval_every_steps": 10, "max_seq_length": 64}
    with stack.client() as client:
        client.import_dataset("pairs", PAIRS.encode())
        run = client.create_run(train_only(10, dataset="pairs", train=train))
        run = until_terminal(client, run.name, 240)
        assert state(run) == "succeeded", run
        kinds = [artifact.kind for artifact in client.list_artifacts(run.name)]
        batches = list(client.stream_metrics(run.name))
    points = {point.name: point.value for batch in batches for point in batch.points}
    assert kinds.count(artifact_pb2.ARTIFACT_KIND_REFERENCE) == 1
    assert points["reward_margin"] > 0
    low, high = (points[f"eval_preference_accuracy_{end}"] for end in ("low", "high"))
    assert low <= points["eval_preference_accuracy"] <= high


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_run_with_another_beta_takes_the_reference_from_the_control_plane(stack: Stack) -> None:
    texts = []
    with stack.client() as client:
        client.import_dataset("pairs", PAIRS.encode())
        for beta in (0.5, 0.2):
            # As on another host: nothing is kept between the runs.
            for file in Path(stack.env["TAILRACE_CACHE_DIR"]).rglob("references/*.safetensors"):
                file.unlink()
            train = {"dpo": {"beta": beta}, "max_seq_length": 64}
            run = client.create_run(train_only(2, dataset="pairs", train=train))
            run = until_terminal(client, run.name, 240)
            assert state(run) == "succeeded", run
            batches = client.stream_logs(run.name)
            texts.append("\n".join(line.text for batch in batches for line in batch.lines))
    assert "under the starting model in" in texts[0]
    assert "under the starting model in" not in texts[1]
    assert "log-probabilities of another run with the same model and pairs" in texts[1]
