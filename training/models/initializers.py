"""Initial values of weights.

NumPy draws them: JAX would compile a program for each shape of a model.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


class Initializer:
    """Seeded random weights; calls in the same order give the same values."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def normal(self, shape: tuple[int, ...], std: float) -> jax.Array:
        """Return float32 values, normally distributed around 0 with this standard deviation."""
        return jnp.asarray(std * self._generator.standard_normal(shape, np.float32))


class ShapeInitializer(Initializer):
    """Zeros instead of random weights, for models that are built for their shapes alone."""

    def __init__(self) -> None:
        super().__init__(0)

    def normal(self, shape: tuple[int, ...], std: float) -> jax.Array:
        """Return zeros, which cost nothing where no value is computed."""
        del std
        return jnp.zeros(shape, jnp.float32)


def constant(size: int, value: float) -> jax.Array:
    """Return ``size`` equal float32 values, [size]."""
    # A view of one value: nothing is allocated where a model is built for its shapes alone.
    return jnp.asarray(np.broadcast_to(np.float32(value), size))
