"""Noticing that a training has run away, before anything is kept that cannot be used."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from training.errors import DivergedError
from training.models.family import Params


def require_finite(what: str, value: float, step: int, saved: int | None) -> None:
    """Raise :class:`training.errors.DivergedError` when ``what`` is no number after ``step``.

    ``saved`` is the step of the newest checkpoint.
    """
    if not math.isfinite(value):
        raise _diverged(f"the {what} is {value}", step, saved)


def require_finite_weights(trained: Params, step: int, saved: int | None) -> None:
    """The same for weights, which an update may break although loss and gradients were finite."""
    if not bool(_finite(trained)):
        raise _diverged("a weight is not a finite number after its update", step, saved)


@jax.jit
def _finite(params: Params) -> jax.Array:
    return jnp.stack([jnp.isfinite(value).all() for value in params.values()]).all()


def _diverged(what: str, step: int, saved: int | None) -> DivergedError:
    good = "no checkpoint was saved" if saved is None else f"checkpoint {saved} is good"
    return DivergedError(
        f"{what} at step {step}; {good}: lower train.sft.learning_rate, add warmup_steps, or set "
        "gradient_clip"
    )
