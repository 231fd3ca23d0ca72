"""Layers that several model families share.

Attribute names follow the tensor names of Hugging Face's checkpoints, and so do the layouts.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
"""Activations of the feed-forward layer, by their Hugging Face names."""


class Dropout:
    """Dropout (Srivastava et al. 2014) with an explicit key; without one it changes nothing."""

    def __init__(self, key: jax.Array | None) -> None:
        self._key = key
        self._calls = 0

    def __call__(self, x: jax.Array, rate: float) -> jax.Array:
        """``x`` with each value dropped with probability ``rate``, the others scaled up."""
        if self._key is None or rate == 0:
            return x
        key = jax.random.fold_in(self._key, self._calls)
        self._calls += 1
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0)


class Linear(nnx.Module):
    """A linear map whose weight is [outputs, inputs], as PyTorch and its checkpoints have it."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, spread: float, rngs: nnx.Rngs
    ) -> None:
        init = nnx.initializers.normal(spread)
        self.weight = nnx.Param(init(rngs.params(), (outputs, inputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] to [..., outputs]."""
        y = x @ self.weight[...].T
        return y if self.bias is None else y + self.bias[...]


class RmsNorm(nnx.Module):
    """Root mean square layer normalization (Zhang & Sennrich, arXiv:1910.07467)."""

    def __init__(self, width: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight = nnx.Param(jnp.ones(width, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis, in float32 whatever the type of ``x``."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        return (wide * scale).astype(x.dtype) * self.weight[...]


class Embedding(nnx.Module):
    """A table of vectors, [vocabulary, width]."""

    def __init__(self, vocabulary: int, width: int, *, spread: float, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.normal(spread)
        self.weight = nnx.Param(init(rngs.params(), (vocabulary, width), jnp.float32))

    def __call__(self, tokens: ArrayLike) -> jax.Array:
        """[...] integers to [..., width]."""
        return jnp.take(self.weight[...], jnp.asarray(tokens), axis=0)

    def scores(self, hidden: jax.Array) -> jax.Array:
        """The table as an output layer: [..., width] to [..., vocabulary]."""
        return hidden @ self.weight[...].T
