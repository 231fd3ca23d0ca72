"""Learning from rewards, on a whole stack; tests/chaos kills it between answers and update."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace.client.rollouts import run_rollouts
from tests.contract.command_line import run_command
from tests.integration.follow import until_terminal
from tests.integration.specs import ROLLOUTS, state, train_only
from tests.stack import Stack

STEPS = 3


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
