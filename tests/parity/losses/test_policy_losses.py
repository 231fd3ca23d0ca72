"""Losses of sampled answers and derivatives, as TRL computes them; see make_policy_goldens.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.schema import from_mapping
from tailrace.formats.spec.grpo_spec import GrpoSpec, RewardScale
from training.objectives.policy_losses import (
    PolicyScores,
    token_losses,
    total_loss,
    total_weight,
)
from training.rollouts.advantages import group_advantages

GOLDENS = json.loads(Path(__file__).with_name("policy_losses.json").read_text())

LENGTHS = np.asarray(GOLDENS["lengths"])


def name(case: dict[str, Any]) -> str:
    spec = case["spec"]
    return f"{spec['loss']}-{spec['ratio']}-{spec['scale_rewards']}-{spec['kl_beta']}"


@pytest.mark.parametrize("case", GOLDENS["cases"], ids=name)
def test_loss_and_derivative_by_each_log_probability_are_those_of_trl(case: dict[str, Any]) -> None:
    spec = from_mapping(GrpoSpec, case["spec"])
    old, reference = (jnp.asarray(GOLDENS[key], jnp.float32) for key in ("old", "reference"))
    mask = (np.arange(old.shape[1]) < LENGTHS[:, None]).astype(np.float32)
    groups = [i // GOLDENS["group"] for i in range(len(LENGTHS))]
    figures = group_advantages(groups, GOLDENS["rewards"], RewardScale(spec.scale_rewards))
    advantages = jnp.asarray(figures.advantages, jnp.float32)

    def loss(log_probs: Any) -> Any:
        scores = PolicyScores(log_probs, old, mask, advantages, reference)
        weight = total_weight(len(LENGTHS), mask.sum(), spec)
        return total_loss(token_losses(scores, spec).losses, scores, spec) / weight

    value, slopes = jax.value_and_grad(loss)(jnp.asarray(GOLDENS["policy"], jnp.float32))
    np.testing.assert_allclose(value, case["loss"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes, case["slopes"], rtol=1e-6, atol=1e-6)
