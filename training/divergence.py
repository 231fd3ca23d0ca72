"""Noticing that a training has run away, before anything is kept that cannot be used."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from training.errors import DivergedError
from training.models.family import Params


def require_finite(what: str, value: float, step: int) -> None:
    """Raise :class:`training.errors.DivergedError` when ``what`` is no number after ``step``."""
    if not math.isfinite(value):
        raise DivergedError(f"the {what} is {value} at step {step}")


def require_finite_weights(trained: Params, step: int) -> None:
    """The same for weights, which an update may break although loss and gradients were finite."""
    if not bool(_finite(trained)):
        raise DivergedError(f"a weight is not a finite number after its update at step {step}")


def with_way_out(error: DivergedError, saved: int | None) -> DivergedError:
    """The error with what is left and what helps; ``saved`` is the newest checkpoint's step."""
    kept = "no checkpoint was saved" if saved is None else f"the checkpoint of step {saved} is good"
    return DivergedError(
        f"{error}; {kept}. From there it would go the same way again: train anew with a lower "
        "train.sft.learning_rate, with warmup_steps, or with a gradient_clip"
    )


@jax.jit
def _finite(params: Params) -> jax.Array:
    return jnp.stack([jnp.isfinite(value).all() for value in params.values()]).all()
