"""A killed worker loses nothing: the run resumes elsewhere and ends with the same weights."""

from __future__ import annotations

import pytest

from tailrace.cli.verify import issued_certificates
from tailrace.formats.certificate import Finding, compare
from tailrace.v1 import run_pb2
from tests.integration.conftest import STACKS, MakeStack
from tests.integration.follow import until_step, until_terminal
from tests.integration.specs import state, train_only

STEPS = 60


def weights(run: run_pb2.Run) -> str:
    digest: str = run.stages[0].result.train.model_digest
    assert len(digest) == 64
    return digest


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", STACKS)
def test_killing_the_worker_in_mid_training_changes_nothing(
    kind: str, stack_maker: MakeStack
) -> None:
    stack = stack_maker(kind, lease_seconds="3")
    stack.start_server()
    first = stack.start_worker()
    with stack.client() as client:
        client.seed_dataset("golden-v2")
        # Twice on one stack: equal seeds give equal bytes. The other stack needs one to compare.
        runs = 2 if kind == "embedded" else 1
        undisturbed = [
            until_terminal(client, client.create_run(train_only(STEPS)).name) for _ in range(runs)
        ]
        assert weights(undisturbed[0]) == weights(undisturbed[-1])

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
        assert weights(ended) == weights(undisturbed[0])
        certified = [
            [one.certificate for one in issued_certificates(client, name)]
            for name in (run.name, undisturbed[0].name)
        ]
        compared = compare(*certified)
        assert compared.finding is Finding.EQUAL, compared
        assert compared.steps[-1] == STEPS
        models = list(client.list_artifacts(run.name, kind="model"))
        assert len(models) == 1
        completions = [t for t in ended.history if t.to_state == "STAGE_STATE_SUCCEEDED"]
        assert len(completions) == 1
