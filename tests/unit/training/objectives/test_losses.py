from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from training.objectives import losses
from training.objectives.losses import blockwise_cross_entropy, response_cross_entropy


def test_uniform_logits_cost_the_log_of_the_vocabulary() -> None:
    loss = response_cross_entropy(
        jnp.zeros((2, 3, 7)), np.zeros((2, 3), np.int32), np.ones((2, 3), np.float32)
    )
    assert float(loss) == pytest.approx(math.log(7))


def test_by_hand() -> None:
    logits = jnp.asarray([[[0.0, math.log(3)], [5.0, -5.0], [9.0, 9.0]]])
    targets = np.asarray([[1, 0, 1]])
    loss = response_cross_entropy(logits, targets, np.asarray([[1.0, 0.0, 1.0]]))
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_weightless_tokens_have_no_gradient() -> None:
    weights = np.asarray([[1.0, 0.0]])
    gradient = jax.grad(response_cross_entropy)(jnp.ones((1, 2, 3)), np.zeros((1, 2), int), weights)
    assert np.abs(gradient[0, 0]).sum() > 0
    assert np.abs(gradient[0, 1]).sum() == 0


def test_a_batch_without_any_weight_costs_nothing() -> None:
    loss = response_cross_entropy(jnp.ones((1, 2, 3)), np.zeros((1, 2), int), np.zeros((1, 2)))
    assert float(loss) == 0


@pytest.mark.parametrize("block", [1, 3, 256])
@pytest.mark.parametrize("learnt", [[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_blocks_give_the_same_loss_and_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch, block: int, learnt: list[int]
) -> None:
    monkeypatch.setattr(losses, "BLOCK", block)
    keys = jax.random.split(jax.random.key(0), 3)
    head = jax.random.normal(keys[0], (5, 11))
    base = jax.random.normal(keys[1], (3, 4, 5))
    targets = np.asarray(jax.random.randint(keys[2], (3, 4), 0, 11))
    weights = np.asarray([learnt, [0, 0, 0, 0], learnt[::-1]], np.float32)
    total = max(weights.sum(), 1)

    def whole(scale: jax.Array) -> jax.Array:
        return response_cross_entropy(jnp.tanh(base * scale) @ head, targets, weights)

    def by_block(scale: jax.Array) -> jax.Array:
        hidden = jnp.tanh(base * scale)
        return blockwise_cross_entropy(lambda h: h @ head, hidden, targets, weights, total)

    scale = jnp.linspace(0.5, 2.0, 5)
    expected = jax.value_and_grad(whole)(scale)
    actual = jax.jit(jax.value_and_grad(by_block))(scale)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-5, atol=1e-6)
