from __future__ import annotations

import math

import jax.numpy as jnp
import pytest

from training.divergence import require_finite, require_finite_weights
from training.errors import DivergedError


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_told_with_its_step(value: float) -> None:
    with pytest.raises(DivergedError, match=r"the loss is -?(nan|inf) at step 7; no checkpoint"):
        require_finite("loss", value, step=7, saved=None)


def test_numbers_pass() -> None:
    require_finite("loss", 1e30, step=7, saved=None)
    require_finite_weights({"w": jnp.ones(3), "b": jnp.zeros(2)}, step=7, saved=4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_broken_weight_is_enough(value: float) -> None:
    weights = {"w": jnp.ones(3).at[1].set(value), "b": jnp.zeros(2)}
    with pytest.raises(DivergedError, match=r"at step 7; checkpoint 4 is good: lower train"):
        require_finite_weights(weights, step=7, saved=4)
