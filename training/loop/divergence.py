"""Detection of divergence, before a useless checkpoint is saved."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from training.errors import DivergedError, NotFiniteError, TrainingError
from training.models.family import Params


def require_finite(what: str, value: float, step: int) -> None:
    """Raise :class:`training.errors.DivergedError` for a value of ``what`` that is not finite."""
    if not math.isfinite(value):
        raise DivergedError(f"the {what} is {value} at step {step}")


def require_finite_weights(trained: Params, step: int) -> None:
    """Raise the same for weights: an update may break them while loss and gradients are finite."""
    if not bool(_finite(trained)):
        raise DivergedError(f"a weight is not a finite number after its update at step {step}")


def explain_divergence(error: DivergedError, saved: int | None, updates: int) -> TrainingError:
    """Return the error with the newest checkpoint and the remedies.

    Args:
        error: Error that names the value and its step.
        saved: Step of the newest checkpoint.
        updates: Number of updates behind the weights that the value was computed with.
    """
    if updates == 0:
        return NotFiniteError(
            f"{error}, before any update of the weights: the model that the training starts from "
            "computes values that are too large or not numbers. Check the model with an infer "
            "block alone; if train.dtype is bfloat16, try float32"
        )
    checkpoint = (
        "no checkpoint was saved" if saved is None else f"the checkpoint of step {saved} is good"
    )
    return DivergedError(
        f"{error}; {checkpoint}. A resumed training would diverge again: start a "
        "new one with a lower train.learning_rate, with warmup_steps, or with a gradient_clip"
    )


@jax.jit
def _finite(params: Params) -> jax.Array:
    return jnp.stack([jnp.isfinite(value).all() for value in params.values()]).all()
