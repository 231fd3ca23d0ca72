"""Judges that ask a model, run by a worker: a failure on the way is not a wrong answer."""

from __future__ import annotations

import json

import pytest

from tailrace.formats.data.golden import golden_v2
from tailrace.formats.data.split import eval_items, split_records
from tailrace.v1 import evaluation_pb2
from tests.integration.follow import until_terminal
from tests.integration.specs import small, stage_states, state
from tests.servers.chat import Say, chat_server
from tests.stack import Stack

RUBRIC, CRITERIA = "Be brief.", "The shorter answer."
HELD_OUT = eval_items(split_records(golden_v2(), 0.2, 42).held_out)
ONE_STACK = pytest.mark.parametrize("stack", ["embedded"], indirect=True)
"""One stack is enough: judges do not see the database or the broker."""

STUBBORN = {item.prompt for item in HELD_OUT[:2]}
"""Prompts to which the judging model never gives a verdict."""


def judge_reply(prompt: str, before: int) -> Say:
    """Reply busy at first, then with a verdict; always with garbage to some prompts."""
    if before == 0:
        return Say(status=429, headers={"Retry-After": "0"})
    if RUBRIC in prompt and any(json.dumps(text) in prompt for text in STUBBORN):
        return Say("The answer is fine, I would say.")
    if RUBRIC in prompt:
        return Say(json.dumps({"score": 9, "reason": "brief"}))
    return Say(json.dumps({"winner": "A", "reason": "the first is shorter"}))


@pytest.mark.timeout(300)
@ONE_STACK
def test_rubric_and_pairwise_over_a_worker(stack: Stack) -> None:
    with chat_server(judge_reply, port=stack.judge_port) as server, stack.client() as client:
        name, key = stack.judge_key
        endpoint = {"url": server.url, "model": "judge-1", "max_retries": 2, "api_key_env": name}
        backend = {"endpoint": endpoint}
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
        run = until_terminal(
            client, client.create_run(small(20, infer=infer, judges=judges)).name, 240
        )
        assert state(run) == "succeeded", run
        verdicts = list(client.list_verdicts(run.name))

    assert {request["headers"]["Authorization"] for request in server.requests} == {f"Bearer {key}"}
    assert key not in str(run) + str(verdicts) + stack.logs()
    rubric = [verdict for verdict in verdicts if verdict.judge == "llm_rubric"]
    errors = [verdict for verdict in rubric if verdict.outcome == evaluation_pb2.OUTCOME_ERROR]
    passed = [verdict for verdict in rubric if verdict.outcome == evaluation_pb2.OUTCOME_PASS]
    # Each prompt was refused once with 429 and retried; garbage is an error, never a score of 0.
    assert passed
    assert len(passed) + len(errors) == len(rubric) == 2 * len(HELD_OUT)
    assert {verdict.score for verdict in passed} == {0.9}
    assert all(verdict.cost_tokens > 0 for verdict in passed)
    stubborn = [item.id for item in HELD_OUT if item.prompt in STUBBORN]
    assert sorted(verdict.example_id for verdict in errors) == sorted(2 * stubborn)
    assert all("it is not JSON" in verdict.reason for verdict in errors)
    assert not any(verdict.HasField("score") for verdict in errors)

    pairs = [verdict for verdict in verdicts if verdict.judge == "pairwise"]
    # A model that always prefers the first answer prefers neither: every pair is a tie.
    assert pairs
    assert {verdict.score for verdict in pairs} == {0.5}
    assert not any(verdict.outcome == evaluation_pb2.OUTCOME_ERROR for verdict in pairs)
    (summary,) = [stage for stage in run.stages if stage.id == "judge"]
    result = summary.result.judge
    assert {score.judge for score in result.scores} >= {"llm_rubric", "pairwise"}
    lifts = {lift.judge: lift for lift in result.comparisons}
    assert lifts.keys() == {"answer_correctness", "llm_rubric", "pairwise"}
    for judge, count in (("answer_correctness", 13), ("llm_rubric", 11), ("pairwise", 13)):
        lift = lifts[judge]
        assert lift.kind == evaluation_pb2.COMPARISON_KIND_LIFT
        assert lift.wins + lift.losses + lift.ties == count
        assert lift.HasField("low")
        assert lift.HasField("high")
        assert lift.low <= lift.difference <= lift.high
        assert lift.difference == pytest.approx((lift.wins - lift.losses) / count)


@pytest.mark.timeout(300)
@ONE_STACK
def test_a_server_that_no_operator_listed_is_not_asked(stack: Stack) -> None:
    with chat_server(judge_reply) as server, stack.client() as client:
        backend = {"endpoint": {"url": server.url, "model": "judge-1"}}
        judge = {"name": "llm_rubric", "llm_rubric": {"rubric": RUBRIC, "backend": backend}}
        run = client.create_run(small(2, judges=[judge]))
        run = until_terminal(client, run.name, 240)
    assert run.error.reason == "INVALID_CONFIG"
    assert f"tailrace up --allow-endpoint {server.place}" in run.error.message
    assert not server.requests


@pytest.mark.timeout(300)
@ONE_STACK
def test_a_judge_that_gets_no_answer_fails_the_run(stack: Stack) -> None:
    refusal = Say(status=500)
    with (
        chat_server(lambda *_: refusal, port=stack.judge_port) as server,
        stack.client() as client,
    ):
        backend = {"endpoint": {"url": server.url, "model": "judge-1", "max_retries": 0}}
        judge = {
            "name": "llm_rubric",
            "max_error_rate": 0.1,
            "llm_rubric": {"rubric": RUBRIC, "backend": backend},
        }
        retry = {"max_attempts": 1}
        run = client.create_run(small(2, judges=[judge], retry=retry))
        run = until_terminal(client, run.name, 240)
        verdicts = list(client.list_verdicts(run.name))
    assert state(run) == "failed", run
    assert stage_states(run) == {"train": "succeeded", "infer": "succeeded", "judge": "failed"}
    assert run.error.reason == "TOO_MANY_JUDGE_ERRORS"
    assert f"{len(HELD_OUT)} of {len(HELD_OUT)} verdicts of llm_rubric are errors" in (
        run.error.message
    )
    assert {verdict.outcome for verdict in verdicts} == {evaluation_pb2.OUTCOME_ERROR}
    assert len(server.requests) == len(HELD_OUT)
