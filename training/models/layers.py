"""Layers that several model families share.

Attribute names follow the tensor names of Hugging Face's checkpoints, and so do the layouts.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from training.models.draws import Draws, filled

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_fast": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
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
        self, inputs: int, outputs: int, *, bias: bool, spread: float, draws: Draws
    ) -> None:
        self.weight = nnx.Param(draws.normal((outputs, inputs), spread))
        self.bias = nnx.Param(filled(outputs, 0)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] to [..., outputs]."""
        y = turned_product(x, self.weight[...])
        return y if self.bias is None else y + self.bias[...]


class TransposedLinear(nnx.Module):
    """A linear map whose weight is [inputs, outputs], as GPT-2's checkpoints have it."""

    def __init__(self, inputs: int, outputs: int, *, spread: float, draws: Draws) -> None:
        self.weight = nnx.Param(draws.normal((inputs, outputs), spread))
        self.bias = nnx.Param(filled(outputs, 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] to [..., outputs]."""
        return rows_product(x, self.weight[...]) + self.bias[...]


class LayerNorm(nnx.Module):
    """Layer normalization (Ba et al., arXiv:1607.06450), with its variance in two passes.

    One pass over the squares loses digits; PyTorch's layer norm takes two as well. Flax's own
    layer subtracts the mean twice, which costs a small GPT-2 a twentieth of its step on a CPU.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight = nnx.Param(filled(width, 1))
        self.bias = nnx.Param(filled(width, 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis, in float32 whatever the type of ``x``."""
        wide = x.astype(jnp.float32)
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + self.epsilon)
        return (centred * scale).astype(x.dtype) * self.weight[...] + self.bias[...]


class RmsNorm(nnx.Module):
    """Root mean square layer normalization (Zhang & Sennrich, arXiv:1910.07467)."""

    def __init__(self, width: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight = nnx.Param(filled(width, 1))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis, in float32 whatever the type of ``x``."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        return (wide * scale).astype(x.dtype) * self.weight[...]


class Embedding(nnx.Module):
    """A table of vectors, [vocabulary, width]."""

    def __init__(self, vocabulary: int, width: int, *, spread: float, draws: Draws) -> None:
        self.weight = nnx.Param(draws.normal((vocabulary, width), spread))

    def __call__(self, tokens: ArrayLike) -> jax.Array:
        """[...] integers to [..., width]."""
        return jnp.take(self.weight[...], jnp.asarray(tokens), axis=0)

    def scores(self, hidden: jax.Array) -> jax.Array:
        """The table as an output layer: [..., width] to [..., vocabulary]."""
        return turned_product(hidden, self.weight[...])


def rows_product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """[..., inputs] times [inputs, outputs] as one product of two matrices.

    XLA's CPU compiler does not flatten the leading dimensions itself, and a training step of a
    small GPT-2 takes a fifth longer with them.
    """
    return (x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], weight.shape[-1])


@jax.custom_vjp
def turned_product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """[..., inputs] times the transpose of [outputs, inputs].

    The weight's derivative is computed as [inputs, outputs] and turned around, which takes a tenth
    off the training step of SmolLM2-135M on a CPU.
    """
    return rows_product(x, weight.T)


def _turned_product(
    x: jax.Array, weight: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return turned_product(x, weight), (x, weight)


def _turned_product_back(
    factors: tuple[jax.Array, jax.Array], change: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weight = factors
    rows = x.reshape(-1, x.shape[-1])
    to_weight = (rows.T @ change.reshape(-1, change.shape[-1])).T
    return rows_product(change, weight), to_weight


turned_product.defvjp(_turned_product, _turned_product_back)
