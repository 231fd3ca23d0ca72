from __future__ import annotations

import math

import jax.numpy as jnp
import pytest

from training.errors import DivergedError, NotFiniteError
from training.loop.divergence import explain_divergence, require_finite, require_finite_weights


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_told_with_its_step(value: float) -> None:
    with pytest.raises(DivergedError, match=r"the loss is -?(nan|inf) at step 7$"):
        require_finite("loss", value, step=7)


def test_numbers_pass() -> None:
    require_finite("loss", 1e30, step=7)
    require_finite_weights({"w": jnp.ones(3), "b": jnp.zeros(2)}, step=7)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_broken_weight_is_enough(value: float) -> None:
    weights = {"w": jnp.ones(3).at[1].set(value), "b": jnp.zeros(2)}
    with pytest.raises(DivergedError, match=r"is not a finite number .* at step 7$"):
        require_finite_weights(weights, step=7)


@pytest.mark.parametrize(
    ("saved", "checkpoint"),
    [(None, "no checkpoint was saved"), (4, "the checkpoint of step 4 is good")],
)
def test_the_way_out_says_what_is_left(saved: int | None, checkpoint: str) -> None:
    message = str(explain_divergence(DivergedError("the loss is nan at step 7"), saved, updates=6))
    assert message.startswith(
        f"the loss is nan at step 7; {checkpoint}. A resumed training would diverge"
    )
    assert "start a new one with a lower train.learning_rate" in message


def test_before_any_update_the_learning_rate_is_not_to_blame() -> None:
    error = explain_divergence(DivergedError("the loss is nan at step 1"), None, updates=0)
    assert isinstance(error, NotFiniteError)
    assert str(error).startswith("the loss is nan at step 1, before any update of the weights")
    assert "learning_rate" not in str(error)
