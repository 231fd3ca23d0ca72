"""The recipes of docs/recipes.md, on a whole stack; `make recipes` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.specs import state
from tests.servers.node import Process, port_open, wait_until
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs/examples"

VOWELS = "{name: regex, regex: {pattern: '[aeiou]'}}"
"""A judge that a model without knowledge passes sometimes."""


QUICK = (
    *("train.max_steps=2", "train.warmup_steps=0"),
    *("infer.n_samples=4", "infer.max_new_tokens=4", f"judges=[{VOWELS}]"),
)


def call(stack: Stack, *arguments: str | Path, **variables: str) -> str:
    """Run a command against the stack and return its output."""
    folders = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"TAILRACE_SERVER": stack.address, "PATH": folders} | variables
    process = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@contextmanager
def served(stack: Stack, model: str) -> Iterator[str]:
    """Serve a model at the address that workers may ask; yields its URL."""
    port = str(stack.judge_port)
    program = [str(Path(sys.executable).parent / "tailrace"), "models", "serve", model]
    process = Process(
        [*program, "--name", "support", "--port", port, "--slots", "2", "--context", "128"],
        log=stack.folder / "serve.log",
        env=stack.env | {"TAILRACE_SERVER": stack.address},
    )
    try:
        wait_until(lambda: port_open(stack.judge_port), "the served model", 240)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop(timeout=30)


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_run_goes_on_with_the_answers_that_were_selected(stack: Stack) -> None:
    call(stack, EXAMPLES / "best_of_n/run.sh", "best", *settings(*QUICK))
    with stack.client() as client:
        sample, train = client.get_run("best-sample"), client.get_run("best-train")
        dataset = client.get_dataset("best")
    assert (state(sample), state(train)) == ("succeeded", "succeeded")
    assert train.resolved_spec.model.source == f"runs/{sample.uid}"
    assert (dataset.lineage.run, dataset.lineage.where) == (sample.name, "outcome = pass")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_model_walks_from_fine_tuning_to_a_judged_version(stack: Stack) -> None:
    def create(file: str, run_id: str, *values: str) -> None:
        command = ("tailrace", "runs", "create", "--file", EXAMPLES / file, "--id", run_id)
        call(stack, *command, "--follow", *settings(*values))

    create("best_of_n/sample.yaml", "sft", *QUICK)
    derive = ("tailrace", "datasets", "derive", "--from", "runs/sft", "--id", "pairs")
    call(stack, *derive, "--kind", "preference", "--eval-set", "dataset:train")
    create("walk/dpo.yaml", "dpo", "train.max_steps=2")
    create(
        *("walk/grpo.yaml", "grpo", "train.max_steps=1", "train.batch_size=2"),
        *("train.grpo.max_new_tokens=4", "infer.max_new_tokens=4", f"judges=[{VOWELS}]"),
        f"train.grpo.rewards=[{{judge: {VOWELS}}}]",
        "gates=[{name: g, metric: score, judge: regex, eval_set: 'dataset:held_out', minimum: 0}]",
    )
    call(stack, "tailrace", "models", "promote", "grpo", "support")
    call(stack, "tailrace", "models", "alias", "support", "prod", "1")
    create("walk/judged.yaml", "judged", "infer.max_new_tokens=4")
    with served(stack, "models/support@prod") as url:
        # The nano model's context is too short for a rubric: the server refuses each question.
        endpoint = f"endpoint: {{url: '{url}/v1', model: support}}"
        rubric = f"{{rubric: right, backend: {{{endpoint}, max_new_tokens: 4}}}}"
        rater = f"{{name: llm_rubric, max_error_rate: 1, llm_rubric: {rubric}}}"
        create("walk/rated.yaml", "rated", f"judges=[{rater}]")
        answered = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()  # noqa: S310
    with stack.client() as client:
        model, judged = client.get_model("support@prod"), client.get_run("judged")
        rated = client.get_run("rated")
        verdicts = list(client.list_verdicts("rated"))
    assert (state(judged), state(rated)) == ("succeeded", "succeeded")
    assert {verdict.reason for verdict in verdicts} == {"the endpoint answers HTTP 400"}
    requests = [line for line in answered.splitlines() if "/v1/chat/completions" in line]
    assert sum(float(line.split()[-1]) for line in requests) >= len(verdicts) > 0
    assert judged.resolved_spec.model.source == "models/support@1"
    steps = [(step.run, step.method, step.base) for step in model.lineage]
    assert steps == [
        ("runs/grpo", "grpo", "runs/dpo"),
        ("runs/dpo", "dpo", "runs/sft"),
        ("runs/sft", "sft", "gpt2-nano"),
    ]
