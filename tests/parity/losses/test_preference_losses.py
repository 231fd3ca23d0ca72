"""Losses of pairs and their derivatives, as TRL computes them; see make_preference_goldens.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.schema import parse
from tailrace.formats.spec.methods import DpoSpec
from training.objectives.preference_losses import PairScores, pair_losses

GOLDENS = json.loads(Path(__file__).with_name("preference_losses.json").read_text())


@pytest.mark.parametrize("case", GOLDENS["cases"])
def test_loss_and_derivative_by_each_log_probability_are_those_of_trl(case: str) -> None:
    golden = GOLDENS["cases"][case]
    spec = parse(DpoSpec, golden["spec"])
    lengths = jnp.asarray(GOLDENS["lengths"], jnp.float32)
    reference = jnp.asarray(GOLDENS["reference"], jnp.float32).sum(-1)

    def loss(tokens: Any) -> Any:
        mask = jnp.arange(tokens.shape[-1]) < lengths[..., None]
        losses = pair_losses(PairScores((tokens * mask).sum(-1), lengths, reference), spec)
        return losses.sum(), losses

    slopes, losses = jax.grad(loss, has_aux=True)(jnp.asarray(GOLDENS["policy"], jnp.float32))
    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes, golden["slopes"], rtol=1e-6, atol=1e-6)
