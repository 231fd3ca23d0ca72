"""Losses of feedback and their derivatives, as TRL computes them; see make_feedback_goldens.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.schema import parse
from tailrace.formats.spec.methods import KtoSpec
from training.objectives.preference_losses import FeedbackScores, feedback_losses

GOLDENS = json.loads(Path(__file__).with_name("feedback_losses.json").read_text())


@pytest.mark.parametrize("case", GOLDENS["cases"])
def test_loss_and_derivative_by_each_log_probability_are_those_of_trl(case: str) -> None:
    golden = GOLDENS["cases"][case]
    spec = parse(KtoSpec, golden["spec"])
    lengths = jnp.asarray(GOLDENS["lengths"], jnp.float32)
    reference = jnp.asarray(GOLDENS["reference"], jnp.float32).sum(-1)
    labels = jnp.asarray(golden["labels"])

    def loss(tokens: Any) -> Any:
        mask = jnp.arange(tokens.shape[-1]) < lengths[..., None]
        ratios = (tokens * mask).sum(-1) - reference
        baseline = jnp.maximum(golden.get("sign", 1) * ratios[:, 1].mean(), 0)
        scores = FeedbackScores(ratios[:, 0], labels, jnp.full(len(labels), baseline))
        return feedback_losses(scores, spec).mean(), baseline

    tokens = jnp.asarray(GOLDENS["policy"], jnp.float32)
    (value, baseline), slopes = jax.value_and_grad(loss, has_aux=True)(tokens)
    np.testing.assert_allclose(baseline, golden["baseline"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes, golden["slopes"], rtol=1e-6, atol=1e-6)
