from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.grpo_spec import GrpoSpec
from tailrace.formats.spec.run_spec import MeshSpec, TrainSpec
from training.data.example_store import Example
from training.loop.steps import BatchLoss, accumulate
from training.loop.trainable import AllWeights
from training.machine.sharding import Layout, make_mesh
from training.models.family import Model, Params
from training.objectives.grpo import GrpoObjective
from training.rollouts.batches import AnswerRows

SAMPLES, ROWS = 4, 12
GENERATOR = np.random.default_rng(7)
PROMPTS = [
    Example.of(GENERATOR.integers(1, 60, length).tolist(), length) for length in (20, 25, 17)
]


def rollouts() -> list[Rollout]:
    """Return answers to each prompt, of which a judge could not score two."""
    values = []
    for prompt in range(len(PROMPTS)):
        for sample in range(SAMPLES):
            tokens = GENERATOR.integers(1, 60, int(GENERATOR.integers(1, 7))).tolist()
            advantage = None if (prompt, sample) in ((0, 0), (2, 1)) else float(sample - 1.5)
            values.append(
                Rollout(
                    *(1, prompt, str(prompt), sample, "p", "t", FinishReason.EOS, tokens),
                    logprobs=[-1.0] * len(tokens),
                    advantage=advantage,
                )
            )
    return values


@pytest.mark.parametrize("micro", [None, 6, 2])
def test_a_prompt_read_once_teaches_the_same(
    micro: int | None, model: Model, params: Params
) -> None:
    learnt = rollouts()
    objective = GrpoObjective(TrainSpec(max_steps=1, grpo=GrpoSpec(max_new_tokens=6)))
    layout = Layout.of("llama", make_mesh(MeshSpec(), ROWS))
    compute = accumulate(
        objective, BatchLoss(objective, AllWeights(model, jnp.float32), layout), layout, micro
    )
    results: list[Any] = []
    for group in (1, SAMPLES if micro is None else 2):
        batch = AnswerRows(ROWS, mask_truncated=False, group=group).batch(PROMPTS, learnt)
        assert batch is not None
        assert (batch.groups is None) == (group == 1)
        assert batch.lengths is not None
        assert np.count_nonzero(batch.lengths) == 10
        rows = jax.tree.map(lambda values: values[0], batch)
        results.append(jax.jit(compute)(params, {}, rows, jax.random.key(0)))
    jax.tree.map(
        lambda once, apart: np.testing.assert_allclose(once, apart, rtol=1e-4, atol=2e-6), *results
    )


def test_answers_that_are_all_masked_teach_nothing() -> None:
    cut = [
        Rollout(1, 0, "0", sample, "p", "t", FinishReason.LENGTH, [5, 6], [-1.0] * 2, advantage=1.0)
        for sample in range(2)
    ]
    assert AnswerRows(2, mask_truncated=True).batch(PROMPTS, cut) is None
    ended = dataclasses.replace(cut[0], finish_reason=FinishReason.EOS)
    batch = AnswerRows(2, mask_truncated=True).batch(PROMPTS, [ended, cut[1]])
    assert batch is not None
    assert batch.weights.sum() == 2
