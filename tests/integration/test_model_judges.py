"""Judges that ask a model, through a worker: what fails on the way is no wrong answer."""

from __future__ import annotations

import json

import pytest

from tailrace.v1 import evaluation_pb2
from tests.integration.conftest import MakeStack
from tests.integration.follow import until_terminal
from tests.integration.specs import small, state
from tests.servers.chat import Say, chat_server

RUBRIC, CRITERIA = "Be brief.", "The shorter answer."


def judgement(prompt: str, before: int) -> Say:
    """Too busy the first time, then a verdict; garbage for every fifth answer, always."""
    if before == 0:
        return Say(status=429, headers={"Retry-After": "0"})
    if _stubborn(prompt):
        return Say("The answer is fine, I would say.")
    if RUBRIC in prompt:
        return Say(json.dumps({"score": 9, "reason": "brief"}))
    return Say(json.dumps({"winner": "A", "reason": "the first is shorter"}))


def _stubborn(prompt: str) -> bool:
    return RUBRIC in prompt and len(prompt) % 5 == 0


@pytest.mark.timeout(300)
def test_rubric_and_pairwise_over_a_worker(stack_maker: MakeStack) -> None:
    stack = stack_maker("embedded")
    stack.start_server()
    stack.start_worker()
    with chat_server(judgement) as server, stack.client() as client:
        client.seed_dataset("golden-v2")
        backend = {"endpoint": {"url": server.url, "model": "judge-1", "max_retries": 2}}
        judges = [
            {"name": "answer_correctness"},
            {
                "name": "llm_rubric",
                "max_error_rate": 1.0,
                "llm_rubric": {"rubric": RUBRIC, "backend": backend},
            },
            {"name": "pairwise", "pairwise": {"criteria": CRITERIA, "backend": backend}},
        ]
        infer = {"include_base": True, "eval_sets": ["dataset:held_out"]}
        run = until_terminal(client, client.create_run(small(20, infer=infer, judges=judges)).name)
        assert state(run) == "succeeded", run
        verdicts = list(client.list_verdicts(run.name))

    rubric = [each for each in verdicts if each.judge == "llm_rubric"]
    errors = [each for each in rubric if each.outcome == evaluation_pb2.OUTCOME_ERROR]
    passed = [each for each in rubric if each.outcome == evaluation_pb2.OUTCOME_PASS]
    # Each prompt was refused once with 429 and asked again; garbage is an error, never a 0.
    assert passed
    assert len(passed) + len(errors) == len(rubric)
    assert {each.score for each in passed} == {0.9}
    assert all(each.cost_tokens > 0 for each in passed)
    asked = {each["messages"][0]["content"] for each in server.requests}
    assert bool(errors) == any(_stubborn(prompt) for prompt in asked)
    assert all("not" in each.reason or "JSON" in each.reason for each in errors)

    pairs = [each for each in verdicts if each.judge == "pairwise"]
    # Who always prefers the first place prefers nobody: every pair is a tie.
    assert pairs
    assert {each.score for each in pairs} == {0.5}
    assert not any(each.outcome == evaluation_pb2.OUTCOME_ERROR for each in pairs)
    (summary,) = [each for each in run.stages if each.id == "judge"]
    assert {score.judge for score in summary.result.judge.scores} >= {"llm_rubric", "pairwise"}
