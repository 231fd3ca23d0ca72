from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.spec.methods import DpoSpec, PreferenceLoss
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch
from training.objectives.dpo import DpoObjective
from training.objectives.objective import ACCURACY, BoundModel

TABLE = jnp.asarray([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]])


class Bigrams:
    """A decoder whose next token depends on the last one alone."""

    def hidden(self, tokens: Any, *_: Any, dropout_key: Any, **__: Any) -> tuple[jax.Array, None]:
        assert dropout_key is None
        return jax.nn.one_hot(tokens, 3), None

    def logits(self, hidden: jax.Array) -> jax.Array:
        return hidden @ TABLE


ROWS = Batch(
    tokens=np.asarray([[[0, 1, 1], [0, 1, 0]], [[2, 2, 0], [2, 1, 0]], [[0] * 3] * 2], np.int32),
    targets=np.asarray([[[1, 1, 1], [1, 0, 0]], [[2, 0, 0], [1, 0, 1]], [[0] * 3] * 2], np.int32),
    weights=np.asarray([[[0, 1, 1], [0, 1, 0]], [[0, 1, 0], [0, 1, 1]], [[0] * 3] * 2], np.float32),
    reference=np.asarray([[-1, -2], [-3, -1], [0, 0]], np.float32),
)
"""Two pairs, and one of padding."""


def objective(loss: PreferenceLoss = PreferenceLoss.SIGMOID) -> DpoObjective:
    return DpoObjective(TrainSpec(max_steps=1, dpo=DpoSpec(loss=loss)))


def bound(*, by_block: bool = False) -> BoundModel:
    decoder: Any = Bigrams()
    return BoundModel(decoder, jax.random.key(0), remat=False, by_block=by_block)


def part(rows: Batch, where: slice) -> Batch:
    return Batch(*(None if values is None else values[where] for values in rows))


def test_log_probabilities_are_sums_over_the_tokens_of_answers() -> None:
    table = jax.nn.log_softmax(TABLE)
    expected = [
        [2 * table[1, 1], table[1, 0]],
        [table[2, 0], table[1, 0] + table[0, 1]],
        [0, 0],
    ]
    for by_block in (False, True):
        actual = objective().answer_log_probs(bound(by_block=by_block), ROWS)
        np.testing.assert_allclose(actual, jnp.asarray(expected), rtol=1e-5)


@pytest.mark.parametrize("loss", PreferenceLoss)
def test_parts_of_a_batch_add_up_and_padding_counts_nothing(loss: PreferenceLoss) -> None:
    method = objective(loss)
    assert method.weight(ROWS) == 2
    whole, metrics = method.loss(bound(), ROWS, jnp.float32(2))
    pieces = [method.loss(bound(), part(ROWS, slice(i, i + 1)), jnp.float32(2)) for i in range(3)]
    assert float(sum(value for value, _ in pieces)) == pytest.approx(float(whole), rel=1e-5)
    for name, value in metrics.items():
        assert float(sum(m[name] for _, m in pieces)) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("loss", PreferenceLoss)
def test_logits_of_one_block_at_a_time_give_the_same_derivative(loss: PreferenceLoss) -> None:
    def slope(by_block: bool) -> jax.Array:
        def of(shift: jax.Array) -> jax.Array:
            class Shifted(Bigrams):
                def hidden(self, tokens: Any, *_: Any, **__: Any) -> tuple[jax.Array, None]:
                    return jax.nn.one_hot(tokens, 3) + shift, None

            decoder: Any = Shifted()
            model = dataclasses.replace(bound(by_block=by_block), decoder=decoder)
            value, _ = objective(loss).loss(model, ROWS, jnp.float32(2))
            return value

        slopes: jax.Array = jax.grad(of)(jnp.asarray([0.1, -0.2, 0.3]))
        return slopes

    plain = slope(by_block=False)
    assert np.isfinite(plain).all()
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(slope(by_block=True), plain, rtol=1e-4, atol=1e-6)


def test_curves_show_rewards_margin_accuracy_and_log_ratios() -> None:
    _, metrics = objective().loss(bound(), ROWS, jnp.float32(2))
    ratios = objective().answer_log_probs(bound(), ROWS) - ROWS.reference
    chosen, rejected = np.asarray(ratios)[:2].mean(0)
    expected = {
        "log_ratio_chosen": chosen,
        "log_ratio_rejected": rejected,
        "rewards_chosen": 0.1 * chosen,
        "rewards_rejected": 0.1 * rejected,
        "reward_margin": 0.1 * (chosen - rejected),
        ACCURACY: (np.asarray(ratios)[:2, 0] > np.asarray(ratios)[:2, 1]).mean(),
    }
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4
    )


def test_losses_without_a_reference_report_mean_log_probabilities() -> None:
    _, metrics = objective(PreferenceLoss.SIMPO).loss(bound(), ROWS, jnp.float32(2))
    assert {"log_prob_chosen", "log_prob_rejected"} <= metrics.keys()
