from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.spec.run_spec import BaseDtype
from training.errors import ConfigError
from training.models.quantized import (
    block_width,
    dequantize,
    matmul_quantized,
    quantize,
    require_matrices,
    stored_bytes,
)

CODES = np.array(
    [
        *(-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0),
        *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
    ],
    np.float32,
)
"""Values of nf4 as appendix E of QLoRA lists them."""


def weight(outputs: int = 8, inputs: int = 128) -> jax.Array:
    return jax.random.normal(jax.random.key(0), (outputs, inputs)) * 0.02


def test_nf4_takes_the_nearest_value_of_the_paper_times_the_largest_of_its_block() -> None:
    matrix = np.asarray(weight())
    blocks = matrix.reshape(8, 2, 64)
    largest = np.abs(blocks).max(-1, keepdims=True)
    nearest = np.abs(blocks[..., None] / largest[..., None] - CODES).argmin(-1)
    expected = (CODES[nearest] * largest).reshape(8, 128)
    values = dequantize(quantize(matrix, BaseDtype.NF4))
    np.testing.assert_allclose(values, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("dtype", "error"), [(BaseDtype.INT8, 0.008), (BaseDtype.NF4, 0.1)], ids=str
)
def test_the_error_of_normal_weights(dtype: BaseDtype, error: float) -> None:
    matrix = weight()
    difference = dequantize(quantize(matrix, dtype)) - matrix
    relative = float(jnp.sqrt(jnp.mean(difference**2) / jnp.mean(matrix**2)))
    assert error / 2 < relative < error


def test_blocks_divide_the_rows() -> None:
    assert [block_width(width) for width in (576, 64, 100, 24, 7)] == [64, 64, 50, 24, 7]
    assert quantize(weight(3, 100), BaseDtype.INT8).scale.shape == (3, 2)


@pytest.mark.parametrize("dtype", [BaseDtype.INT8, BaseDtype.NF4], ids=str)
def test_the_bytes_are_those_that_a_device_holds(dtype: BaseDtype) -> None:
    codes = quantize(weight(), dtype)
    compiled = jax.jit(dequantize).lower(codes).compile()
    assert compiled.memory_analysis().argument_size_in_bytes == stored_bytes((8, 128), dtype)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_and_its_gradient_are_those_of_the_dequantized_weight(transposed: bool) -> None:
    matrix = weight(64, 128)
    codes = quantize(matrix, BaseDtype.NF4)
    values = dequantize(codes) if transposed else dequantize(codes).T
    x = jax.random.normal(jax.random.key(1), (2, 3, values.shape[0]))

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(matmul_quantized(x, codes, transposed)))

    expected = jax.value_and_grad(lambda x: jnp.sum(jnp.sin(x @ values)))(x)
    for actual, right in zip(jax.value_and_grad(total)(x), expected, strict=True):
        np.testing.assert_allclose(actual, right, rtol=1e-4, atol=1e-5)


def loop_memory(layers: int) -> int:
    """Return the temporary bytes of four gradient steps through a stack of layers."""
    side = 256
    codes = [quantize(weight(side, side), BaseDtype.INT8) for _ in range(layers)]

    def loss(scale: jax.Array, codes: Any, x: jax.Array) -> jax.Array:
        for code in codes:
            x = jnp.tanh(scale * matmul_quantized(x, code, False))
        return jnp.mean(x)

    def steps(scale: jax.Array, codes: Any, rows: jax.Array) -> jax.Array:
        def step(scale: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            return scale - jax.grad(loss)(scale, codes, x), None

        return jax.lax.scan(step, scale, rows)[0]

    compiled = jax.jit(steps).lower(jnp.float32(1), codes, jnp.ones((4, 2, side))).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes)


def test_no_dequantized_model_exists_at_once() -> None:
    one_weight = 256 * 256 * 4
    assert loop_memory(8) - loop_memory(4) < one_weight


def test_experts_are_refused() -> None:
    require_matrices({"a": (3,), "b": (3, 4)})
    with pytest.raises(ConfigError, match=r"lora.base_dtype: b holds .* leave base_dtype out"):
        require_matrices({"b": (2, 3, 4)})
