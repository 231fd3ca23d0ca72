"""Learning from preferences, rewards and a teacher, on a whole stack.

tests/chaos kills a training between its answers and its update.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace.client.rollouts import run_rollouts
from tailrace.v1 import artifact_pb2
from tests.contract.command_line import run_command
from tests.integration.follow import until_terminal
from tests.integration.specs import ROLLOUTS, state, train_only
from tests.stack import Stack

STEPS = 3

PAIRS = "".join(
    json.dumps({"prompt": f"What is {i} + {i}?", "chosen": str(2 * i), "rejected": f"Not {i}"})
    + "\n"
    for i in range(1, 21)
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_preferences_are_learnt_and_another_beta_takes_the_same_reference(stack: Stack) -> None:
    logs, runs = [], []
    with stack.client() as client:
        client.import_dataset("pairs", PAIRS.encode())
        for beta in (0.5, 0.2):
            # As on another host: nothing is kept between the runs.
            for file in Path(stack.env["TAILRACE_CACHE_DIR"]).rglob("references/*.safetensors"):
                file.unlink()
            train = {"dpo": {"beta": beta}, "eval_every_steps": 10, "max_seq_length": 64}
            run = client.create_run(train_only(10, dataset="pairs", train=train))
            runs.append(until_terminal(client, run.name, 240))
            assert state(runs[-1]) == "succeeded", runs[-1]
            batches = client.stream_logs(run.name)
            logs.append("\n".join(line.text for batch in batches for line in batch.lines))
        kinds = [artifact.kind for artifact in client.list_artifacts(runs[0].name)]
        metrics = list(client.stream_metrics(runs[0].name))
    points = {point.name: point.value for batch in metrics for point in batch.points}
    assert kinds.count(artifact_pb2.ARTIFACT_KIND_REFERENCE) == 1
    assert points["reward_margin"] > 0
    low, high = (points[f"eval_preference_accuracy_{end}"] for end in ("low", "high"))
    assert low <= points["eval_preference_accuracy"] <= high
    assert "under the starting model in" in logs[0]
    assert "under the starting model in" not in logs[1]
    assert "log-probabilities of another run with the same model and pairs" in logs[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_run_learns_from_rewards_and_publishes_its_rollouts(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        run = client.create_run(train_only(STEPS, train=ROLLOUTS))
        run = until_terminal(client, run.name, 240)
        assert state(run) == "succeeded", run
        answers = list(run_rollouts(client, run.name))
        batches = list(client.stream_metrics(run.name))
        logs = [line.text for batch in client.stream_logs(run.name) for line in batch.lines]
        steps = [artifact.step for artifact in client.list_artifacts(run.name, kind="rollouts")]
    assert steps == [0, 1, 2, 3]
    assert sum(answer.step == 2 for answer in answers) == 8
    names = {point.name for batch in batches for point in batch.points}
    assert {"reward", "reward_regex", "sampler_gap", "rollout_tokens_per_second"} <= names
    assert any("pre-flight: reward" in text for text in logs)

    server = ("--server", stack.address)
    shown = run_command("runs", "rollouts", run.name, "--step", "0", *server, "--json")
    page = tmp_path / "report.html"
    run_command("runs", "report", run.name, "--output", str(page), *server)
    assert "Before the first step: reward" in page.read_text()
    assert "Answers of step 3" in page.read_text()
    kinds = {json.loads(line).get("adversarial") for line in shown.out.splitlines()}
    assert kinds == {None, "empty", "prompt", "marker", "long", "candidates"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_promoted_model_teaches_another(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        source = until_terminal(client, client.create_run(train_only(10)).name, 240)
        client.promote_model(source.name, "tutor", force=True, reason="a teacher")
        train = {"distill": {"teacher": "models/tutor"}, "eval_every_steps": 10, "seed": 7}
        run = client.create_run(train_only(10, train=train))
        run = until_terminal(client, run.name, 240)
        assert state(run) == "succeeded", run
        metrics = list(client.stream_metrics(run.name))
    assert run.resolved_spec.train.distill.teacher == "models/tutor@1"
    points = {point.name: point.value for batch in metrics for point in batch.points}
    assert points["eval_teacher_kl"] == pytest.approx(points["eval_loss"])

    own = {"on_policy": {"max_new_tokens": 4}}
    train |= {"distill": {"teacher": "models/tutor", **own}, "batch_size": 2}
    with stack.client() as client:
        run = client.create_run(train_only(2, train={**train, "eval_every_steps": 0}))
        run = until_terminal(client, run.name, 240)
        assert state(run) == "succeeded", run
        steps = [artifact.step for artifact in client.list_artifacts(run.name, kind="rollouts")]
        client.promote_model(run.name, "pupil", force=True, reason="taught")
        lineage = client.get_model("models/pupil").lineage
    assert steps == [1, 2]
    assert [step.teacher for step in lineage] == ["models/tutor@1"]
    shown = run_command("runs", "rollouts", run.name, "--server", stack.address, "--json")
    answers = [json.loads(line) for line in shown.out.splitlines()]
    assert [answer["step"] for answer in answers] == [1, 1, 2, 2]
    assert not any("reward" in answer for answer in answers)
    page = tmp_path / "report.html"
    run_command("runs", "report", run.name, "--output", str(page), "--server", stack.address)
    assert "<h2>Sampled answers</h2>" in page.read_text()
