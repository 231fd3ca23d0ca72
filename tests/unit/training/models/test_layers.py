from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from training.models.initializers import Initializer
from training.models.layers import Dropout, Embedding, Linear, RmsNorm


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_mean(rate: float) -> None:
    x = jnp.ones(200_000)
    drop = Dropout(jax.random.key(0))
    first, second = drop(x, rate), drop(x, rate)
    assert float((first == 0).mean()) == pytest.approx(rate, abs=0.01)
    assert float(first.mean()) == pytest.approx(1, abs=0.01)
    assert not np.array_equal(first, second)


def test_no_key_no_dropout() -> None:
    x = jnp.ones(10)
    np.testing.assert_array_equal(Dropout(None)(x, 0.5), x)


def test_linear_holds_its_weight_as_pytorch_does() -> None:
    linear = Linear(3, 2, bias=True, std=0.02, initializer=Initializer(0))
    weight = jnp.asarray([[1.0, 2.0, 3.0], [0.0, -1.0, 0.0]])
    assert linear.bias is not None
    linear.weight[...], linear.bias[...] = weight, jnp.asarray([10.0, 20.0])
    np.testing.assert_allclose(linear(jnp.asarray([[1.0, 1.0, 2.0]])), [[19.0, 19.0]])


def test_linear_starts_with_the_given_spread_and_no_bias() -> None:
    linear = Linear(200, 300, bias=True, std=0.5, initializer=Initializer(0))
    assert float(jnp.std(linear.weight[...])) == pytest.approx(0.5, rel=0.02)
    assert linear.bias is not None
    assert not linear.bias[...].any()
    assert Linear(2, 3, bias=False, std=0.5, initializer=Initializer(0)).bias is None


def test_rms_norm_scales_to_unit_mean_square() -> None:
    norm = RmsNorm(4, epsilon=0.0)
    norm.weight[...] = jnp.asarray([1.0, 1.0, 1.0, 2.0])
    x = jnp.asarray([3.0, -3.0, 3.0, 3.0])
    np.testing.assert_allclose(norm(x), [1, -1, 1, 2], rtol=1e-6)


def test_rms_norm_does_not_overflow_in_half_precision() -> None:
    x = jnp.full(8, 1e4, jnp.float16)
    normed = RmsNorm(8, epsilon=1e-6)(x)
    np.testing.assert_allclose(np.asarray(normed, np.float32), 1, rtol=1e-2)


def test_embedding_looks_up_and_scores() -> None:
    table = Embedding(5, 3, std=0.5, initializer=Initializer(0))
    weight = np.asarray(table.weight[...])
    np.testing.assert_array_equal(table(np.asarray([[4, 0]])), weight[[4, 0]][None])
    np.testing.assert_allclose(table.scores(jnp.asarray(weight[2])), weight @ weight[2], rtol=1e-6)


def test_the_type_of_the_parameters_is_the_type_of_the_output() -> None:
    table = Embedding(5, 4, std=0.5, initializer=Initializer(0))
    linear = Linear(4, 2, bias=True, std=0.5, initializer=Initializer(0))
    norm = RmsNorm(4, epsilon=1e-6)
    for module in (table, linear, norm):
        nnx.update(module, jax.tree.map(lambda x: x.astype(jnp.bfloat16), nnx.state(module)))
    assert linear(norm(table(np.asarray([1])))).dtype == jnp.bfloat16
