"""A killed worker loses nothing: the run resumes elsewhere and ends with the same weights."""

from __future__ import annotations

from typing import Any

import pytest

import tailrace
from tailrace.cli.commands.verify import issued_certificates
from tailrace.formats.certificate import Finding, compare
from tailrace.protomap import to_mapping
from tailrace.v1 import evaluation_pb2, run_pb2
from tests.integration.conftest import MakeStack
from tests.integration.follow import until, until_step, until_terminal
from tests.integration.specs import small, state, train_only

STEPS = 60

MANY_ANSWERS = {
    "eval_sets": ["eval_v1"],
    "include_base": True,
    "max_new_tokens": 40,
    "batch_size": 4,
    "temperature": 1.0,
    "logprobs": True,
}
"""50 answers, a few at a time: enough of them to be killed in between."""


def weights(run: run_pb2.Run) -> str:
    digest: str = run.stages[0].result.train.model_digest
    assert len(digest) == 64
    return digest


@pytest.mark.timeout(300)
def test_killing_the_worker_in_mid_training_changes_nothing(stack_maker: MakeStack) -> None:
    # The embedded stack's turn is in tests/chaos.
    stack = stack_maker("production", lease_seconds="3")
    stack.start_server()
    first = stack.start_worker()
    with stack.client() as client:
        client.seed_dataset("golden-v2")
        undisturbed = until_terminal(client, client.create_run(train_only(STEPS)).name)
        run = client.create_run(train_only(STEPS, train={"log_every_steps": 1}))
        until_step(client, run.name, 20)
        first.kill_group()
        stack.start_worker()
        ended = until_terminal(client, run.name)

        assert state(ended) == "succeeded", ended
        (stage,) = ended.stages
        states = [run_pb2.AttemptState.Name(a.state) for a in stage.attempts]
        assert states == ["ATTEMPT_STATE_EXPIRED", "ATTEMPT_STATE_SUCCEEDED"]
        assert stage.result.train.resumed_from_step >= 20
        assert stage.result.train.steps == STEPS
        assert weights(ended) == weights(undisturbed)
        certified = [
            [one.certificate for one in issued_certificates(client, name)]
            for name in (run.name, undisturbed.name)
        ]
        compared = compare(*certified)
        assert compared.finding is Finding.EQUAL, compared
        assert compared.steps[-1] == STEPS
        models = list(client.list_artifacts(run.name, kind="model"))
        assert len(models) == 1
        completions = [t for t in ended.history if t.to_state == "STAGE_STATE_SUCCEEDED"]
        assert len(completions) == 1


@pytest.mark.timeout(300)
def test_killing_the_worker_in_mid_inference_changes_no_answer(stack_maker: MakeStack) -> None:
    stack = stack_maker("embedded", lease_seconds="3")
    stack.start_server()
    first = stack.start_worker()
    with stack.client() as client:
        client.seed_dataset("golden-v2")
        spec = small(10, infer=MANY_ANSWERS, judges=None)
        undisturbed = until_terminal(client, client.create_run(spec).name)
        assert state(undisturbed) == "succeeded", undisturbed

        run = client.create_run(spec)
        until(
            client, run.name, lambda _: len(list(client.list_predictions(run.name, limit=8))) == 8
        )
        first.kill_group()
        stack.start_worker()
        ended = until_terminal(client, run.name)

        assert state(ended) == "succeeded", ended
        stage = ended.stages[1]
        states = [run_pb2.AttemptState.Name(a.state) for a in stage.attempts]
        assert states == ["ATTEMPT_STATE_EXPIRED", "ATTEMPT_STATE_SUCCEEDED"]
        assert kept(client, ended) in range(8, 50)
        there, here = (list(client.list_predictions(each.name)) for each in (undisturbed, ended))
        assert len(there) == len(here) == 50
        roles = {evaluation_pb2.MODEL_ROLE_TRAINED, evaluation_pb2.MODEL_ROLE_BASE}
        assert {prediction.model_role for prediction in here} == roles
        for one, other in zip(there, here, strict=True):
            assert list(other.logprobs) == pytest.approx(list(one.logprobs), abs=1e-4)
            assert bare(other) == bare(one)


def kept(client: tailrace.Client, run: run_pb2.Run) -> int:
    """How many predictions of the first attempt the second one says it kept."""
    said = [
        line.text
        for batch in client.stream_logs(run.name)
        for line in batch.lines
        if "of an earlier attempt are kept" in line.text
    ]
    assert len(said) == 1, said
    return int(said[0].split(" predictions ")[0].split()[-1])


def bare(prediction: evaluation_pb2.Prediction) -> dict[str, Any]:
    """All of a prediction but its log-probabilities."""
    told = to_mapping(prediction)
    assert told["token_ids"]
    del told["logprobs"]
    return told
