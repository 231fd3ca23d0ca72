"""Where fresh weights come from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


class Draws:
    """Random weights by NumPy; JAX would compile a program for each shape that a model has."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def normal(self, shape: tuple[int, ...], spread: float) -> jax.Array:
        """Values of a normal distribution with this standard deviation, float32."""
        return jnp.asarray(spread * self._generator.standard_normal(shape, np.float32))


class NoDraws(Draws):
    """For a model of which only the shapes are wanted."""

    def __init__(self) -> None:
        super().__init__(0)

    def normal(self, shape: tuple[int, ...], spread: float) -> jax.Array:
        """Zeros, which cost nothing where no value is computed."""
        del spread
        return jnp.zeros(shape, jnp.float32)


def filled(size: int, value: float) -> jax.Array:
    """So many times the same value, float32."""
    return jnp.asarray(np.full(size, value, np.float32))
