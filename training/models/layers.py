"""Layers of several decoders.

Attribute names follow the tensor names of Hugging Face's checkpoints, and so do the layouts.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from training.models.initializers import Initializer, constant

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
    """Dropout (Srivastava et al. 2014) with an explicit key; the identity without one."""

    def __init__(self, key: jax.Array | None) -> None:
        self._key = key
        self._calls = 0

    def __call__(self, x: jax.Array, rate: float) -> jax.Array:
        """Zero each value of ``x`` with probability ``rate`` and scale the others up."""
        if self._key is None or rate == 0:
            return x
        key = jax.random.fold_in(self._key, self._calls)
        self._calls += 1
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0)


class Linear(nnx.Module):
    """Linear map with a weight of [outputs, inputs], the layout of PyTorch's checkpoints."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, std: float, initializer: Initializer
    ) -> None:
        self.weight = nnx.Param(initializer.normal((outputs, inputs), std))
        self.bias = nnx.Param(constant(outputs, 0)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., inputs] to [..., outputs]."""
        y = matmul_transposed(x, self.weight[...])
        return y if self.bias is None else y + self.bias[...]


class TransposedLinear(nnx.Module):
    """Linear map with a weight of [inputs, outputs], the layout of GPT-2's checkpoints."""

    def __init__(self, inputs: int, outputs: int, *, std: float, initializer: Initializer) -> None:
        self.weight = nnx.Param(initializer.normal((inputs, outputs), std))
        self.bias = nnx.Param(constant(outputs, 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., inputs] to [..., outputs]."""
        return matmul_rows(x, self.weight[...]) + self.bias[...]


class LayerNorm(nnx.Module):
    """Layer normalization (Ba et al., arXiv:1607.06450), with a two-pass variance.

    One pass over the squares loses digits; PyTorch also takes two. Flax's layer subtracts the mean
    twice, which costs a small GPT-2 a twentieth of its step on a CPU.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight = nnx.Param(constant(width, 1))
        self.bias = nnx.Param(constant(width, 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis, computing in float32 for any type of ``x``."""
        wide = x.astype(jnp.float32)
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + self.epsilon)
        return (centred * scale).astype(x.dtype) * self.weight[...] + self.bias[...]


class RmsNorm(nnx.Module):
    """Root mean square layer normalization (Zhang & Sennrich, arXiv:1910.07467)."""

    def __init__(self, width: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight = nnx.Param(constant(width, 1))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis, computing in float32 for any type of ``x``."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        return (wide * scale).astype(x.dtype) * self.weight[...]


class Embedding(nnx.Module):
    """Table of vectors, [vocabulary, width]."""

    def __init__(
        self, vocabulary: int, width: int, *, std: float, initializer: Initializer
    ) -> None:
        self.weight = nnx.Param(initializer.normal((vocabulary, width), std))

    def __call__(self, tokens: ArrayLike) -> jax.Array:
        """Map token ids [...] to [..., width]."""
        return jnp.take(self.weight[...], jnp.asarray(tokens), axis=0)

    def scores(self, hidden: jax.Array) -> jax.Array:
        """Apply the table as an output layer: [..., width] to [..., vocabulary]."""
        return matmul_transposed(hidden, self.weight[...])


def matmul_rows(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiply [..., inputs] by [inputs, outputs] as one product of two matrices.

    XLA's CPU compiler does not flatten the leading dimensions itself, and a training step of a
    small GPT-2 takes a fifth longer with them.
    """
    return (x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], weight.shape[-1])


@jax.custom_vjp
def matmul_transposed(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiply [..., inputs] by the transpose of [outputs, inputs].

    The weight's gradient is computed as [inputs, outputs] and transposed, which saves a tenth of
    SmolLM2-135M's training step on a CPU.
    """
    return matmul_rows(x, weight.T)


def _matmul_transposed_forward(
    x: jax.Array, weight: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return matmul_transposed(x, weight), (x, weight)


def _matmul_transposed_backward(
    factors: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weight = factors
    rows = x.reshape(-1, x.shape[-1])
    weight_gradient = (rows.T @ gradient.reshape(-1, gradient.shape[-1])).T
    return matmul_rows(gradient, weight), weight_gradient


matmul_transposed.defvjp(_matmul_transposed_forward, _matmul_transposed_backward)
