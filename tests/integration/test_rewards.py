"""Learning from rewards, on a whole stack: rollouts are committed, and outlive their worker."""

from __future__ import annotations

import pytest

from tailrace.cli.commands.verify import issued_certificates
from tailrace.client.rollouts import run_rollouts
from tailrace.formats.certificate import Finding, compare
from tests.integration.conftest import MakeStack
from tests.integration.follow import until, until_terminal
from tests.integration.specs import ROLLOUTS, state, train_only

STEPS = 6


@pytest.mark.timeout(300)
def test_a_killed_worker_loses_no_answer_and_changes_no_weight(stack_maker: MakeStack) -> None:
    stack = stack_maker("embedded", lease_seconds="3")
    stack.start_server()
    first = stack.start_worker()
    with stack.client() as client:
        client.seed_dataset("golden-v2")
        spec = train_only(STEPS, train=ROLLOUTS)
        undisturbed = until_terminal(client, client.create_run(spec).name)
        assert state(undisturbed) == "succeeded", undisturbed
        run = client.create_run(spec)
        until(
            client,
            run.name,
            lambda _: len(list(client.list_artifacts(run.name, kind="rollouts"))) >= 5,
        )
        first.kill_group()
        before = list(run_rollouts(client, run.name))
        stack.start_worker()
        ended = until_terminal(client, run.name)

        assert state(ended) == "succeeded", ended
        assert len(ended.stages[0].attempts) == 2
        after = list(run_rollouts(client, run.name))
        assert after[: len(before)] == before
        assert after == list(run_rollouts(client, undisturbed.name))
        assert sorted({rollout.step for rollout in after}) == list(range(STEPS + 1))
        certified = [
            [one.certificate for one in issued_certificates(client, name)]
            for name in (run.name, undisturbed.name)
        ]
        compared = compare(*certified)
        assert (compared.finding, compared.steps[-1]) == (Finding.EQUAL, STEPS)
        names = {point.name for batch in client.stream_metrics(run.name) for point in batch.points}
        assert {"reward", "reward_regex", "sampler_gap", "rollout_tokens_per_second"} <= names
