"""The divergences of a distillation and their derivatives are those of TRL's GKD.

On the answers of a dataset with beta 0, on those of the model with beta 1.
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

from training.objectives.divergence import (
    DivergencesOf,
    forward_divergences,
    reverse_divergences,
)

GKD: Any = gkd_trainer


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
