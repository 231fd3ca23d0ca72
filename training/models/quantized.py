"""Linear layers whose frozen weights are stored quantized.

As in QLoRA (Dettmers et al., arXiv:2305.14314) the weights of a row are divided into blocks, and
each block has a scale, its largest absolute value: 8 bits a weight (int8), or 4 bits (nf4, the
quantiles of a normal distribution, appendix E of the paper). Qwix quantizes and dequantizes; XLA
stores two weights of 4 bits in a byte. Only a training that needs Qwix imports it, because that
takes a fifth of a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from tailrace.formats.spec.run_spec import BaseDtype
from training.errors import ConfigError
from training.models.layers import matmul_rows

if TYPE_CHECKING:
    from qwix import QArray

_barrier: Any = jax.lax.optimization_barrier

BLOCK = 64
"""Largest number of weights that share a scale, as in the paper."""

SCALE_BYTES = 4
"""Bytes of a block's scale, which is float32."""

_BITS = {BaseDtype.INT8: 8, BaseDtype.NF4: 4}
"""Bits of a weight without its share of the scale."""


def block_width(width: int) -> int:
    """Return the width of the blocks of rows of ``width`` weights, which it divides."""
    return next(size for size in range(min(BLOCK, width), 0, -1) if width % size == 0)


def stored_bytes(shape: Sequence[int], dtype: BaseDtype) -> int:
    """Return the bytes of a quantized weight with its scales."""
    values = prod(shape)
    return -(-values * _BITS[dtype] // 8) + values // block_width(shape[-1]) * SCALE_BYTES


def require_matrices(shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise :class:`ConfigError` for a model with weights that are stacks of matrices."""
    stacks = [name for name, shape in shapes.items() if len(shape) > 2]
    if stacks:
        raise ConfigError(
            f"train.adapter.lora.base_dtype: {stacks[0]} holds the weights of several experts, "
            "which cannot be quantized yet: leave base_dtype out"
        )


@partial(jax.jit, static_argnums=1)
def quantize(weight: jax.Array, dtype: BaseDtype) -> QArray:
    """Return a matrix quantized in blocks of its last axis; equal matrices give equal codes."""
    import qwix

    blocks = {1: block_width(weight.shape[1])}
    wide = weight.astype(jnp.float32)
    return qwix.quantize(wide, dtype.value, channelwise_axes=(0,), tiled_axes=blocks)


@jax.jit
def dequantize(weight: QArray) -> jax.Array:
    """Return the float32 values that a quantized matrix stands for."""
    import qwix

    values: jax.Array = qwix.dequantize(weight)
    return values


class QuantizedLinear(nnx.Module):
    """Linear map with a quantized weight, which is dequantized for each product alone."""

    def __init__(self, weight: QArray, bias: nnx.Param[jax.Array] | None, transposed: bool) -> None:
        self.weight = weight
        self.bias = bias
        self.transposed = transposed
        """True for a weight of [inputs, outputs]."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., inputs] to [..., outputs]."""
        y = matmul_quantized(x, self.weight, self.transposed)
        return y if self.bias is None else y + self.bias[...]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul_quantized(x: jax.Array, weight: QArray, transposed: bool) -> jax.Array:
    """Multiply [..., inputs] by a quantized [outputs, inputs], or [inputs, outputs] if transposed.

    The backward pass dequantizes again, and the weight gets no gradient.
    """
    x, wide = _dequantize_for(x, weight)
    return matmul_rows(x, wide if transposed else wide.T)


def _forward(x: jax.Array, weight: QArray, transposed: bool) -> tuple[jax.Array, QArray]:
    return matmul_quantized(x, weight, transposed), weight


def _backward(transposed: bool, weight: QArray, gradient: jax.Array) -> tuple[jax.Array, None]:
    gradient, wide = _dequantize_for(gradient, weight)
    return matmul_rows(gradient, wide.T if transposed else wide), None


matmul_quantized.defvjp(_forward, _backward)


def _dequantize_for(factor: jax.Array, weight: QArray) -> tuple[jax.Array, jax.Array]:
    """Return a factor, and the weight in its type, computed once the factor is there.

    Else XLA moves the weights of all layers out of the loop over steps, or keeps them from the
    forward to the backward pass, and the whole model is dequantized at once.
    """
    if jax.default_backend() == "cpu":
        # The compiler for processors ignores barriers. A sign is never above 1, which it does not
        # know.
        never = jnp.sign(factor[(0,) * factor.ndim]) > 1
        codes = jnp.where(never, jnp.zeros_like(weight.qvalue), weight.qvalue)
        weight = dataclasses.replace(weight, qvalue=codes)
    else:
        factor, weight = _barrier((factor, weight))
    return factor, dequantize(weight).astype(factor.dtype)
