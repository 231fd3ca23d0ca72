"""The divergences of a distillation and their derivatives are those of TRL's GKD.

On the answers of a dataset with beta 0, on those of the model with beta 1; on a teacher's likeliest
tokens that of TRL's server distillation with a tail bucket.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.gkd import gkd_trainer  # its import warns otherwise
from trl.experimental.server_distillation import server_distillation_trainer

from training.data.example_store import TopTokens
from training.objectives.divergence import (
    DivergencesOf,
    forward_divergences,
    reverse_divergences,
    top_divergences,
    top_tokens,
)

GKD: Any = gkd_trainer
PEER: Any = server_distillation_trainer


@pytest.mark.parametrize(
    ("divergences_of", "beta"), [(forward_divergences, 0), (reverse_divergences, 1)]
)
def test_loss_and_derivative_equal_those_of_trl(divergences_of: DivergencesOf, beta: int) -> None:
    generator = np.random.default_rng(3)
    student, teacher = (generator.normal(0, 3, (2, 7, 50)).astype(np.float32) for _ in range(2))
    weights = generator.integers(0, 2, (2, 7)).astype(np.float32)
    leaf = torch.tensor(student, requires_grad=True)
    labels = torch.tensor(np.where(weights > 0, 1, -100))
    expected = GKD.GKDTrainer.generalized_jsd_loss(leaf, torch.tensor(teacher), labels, beta=beta)
    expected.backward()

    def loss(logits: jax.Array) -> jax.Array:
        values = divergences_of(logits, jnp.asarray(teacher), weights).values
        return jnp.sum(values) / weights.sum()

    value, slopes = jax.value_and_grad(loss)(jnp.asarray(student))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-6)
    assert leaf.grad is not None
    np.testing.assert_allclose(slopes, leaf.grad.numpy(), atol=1e-6)


def test_loss_on_the_likeliest_tokens_and_its_derivative_equal_those_of_trl() -> None:
    generator = np.random.default_rng(5)
    student, teacher = (generator.normal(0, 3, (2, 7, 50)).astype(np.float32) for _ in range(2))
    tokens, log_probs = top_tokens(jnp.asarray(teacher), 8)
    leaf = torch.tensor(student, requires_grad=True)
    index = torch.tensor(np.array(tokens), dtype=torch.int64)
    everywhere = torch.ones(index.shape, dtype=torch.bool)
    sides = []
    for logits in (leaf, torch.tensor(teacher)):
        chosen = torch.log_softmax(logits, -1).gather(-1, index)
        side, support = PEER._add_tail_bucket(chosen, everywhere)
        sides.append(side)
    expected = PEER._jsd_divergence(*sides, beta=0, support_mask=support).sum() / 14
    expected.backward()

    def loss(logits: jax.Array) -> jax.Array:
        taught: Any = TopTokens(tokens, log_probs)  # type: ignore[arg-type]
        return jnp.mean(top_divergences(logits, taught, np.ones((2, 7)), 50).values)

    value, slopes = jax.value_and_grad(loss)(jnp.asarray(student))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-6)
    assert leaf.grad is not None
    np.testing.assert_allclose(slopes, leaf.grad.numpy(), atol=1e-6)
