from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.spec.grpo_spec import GrpoSpec, PolicyLoss, RatioLevel
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, SampledValues
from training.objectives.grpo import GrpoObjective
from training.objectives.objective import BoundModel

TABLE = jnp.asarray([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]])

TEMPERATURE = 0.5


class Bigrams:
    """A decoder whose next token depends on the last one alone."""

    def __init__(self, shift: Any = 0.0) -> None:
        self._shift = shift

    def hidden(self, tokens: Any, *_: Any, dropout_key: Any, **__: Any) -> tuple[jax.Array, None]:
        assert dropout_key is None
        return jax.nn.one_hot(tokens, 3) + self._shift, None

    def logits(self, hidden: jax.Array) -> jax.Array:
        return hidden @ TABLE


WEIGHTS = np.asarray([[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], np.float32)
"""Answers of three, two and one tokens, and a row of padding."""

ROWS = Batch(
    tokens=np.asarray([[0, 1, 1, 2], [2, 1, 0, 0], [1, 1, 0, 2], [0] * 4], np.int32),
    targets=np.asarray([[1, 1, 2, 0], [1, 0, 0, 0], [1, 0, 2, 1], [0] * 4], np.int32),
    weights=WEIGHTS,
    sampled=SampledValues(
        answers=np.asarray([1, 1, 1, 0], np.float32),
        advantages=np.asarray([1.0, -0.5, 0.25, 0], np.float32),
        token_share=np.full(4, 1 / 6, np.float32),
        sampler=np.asarray(-0.5 * WEIGHTS, np.float32),
        old=np.asarray(-0.7 * WEIGHTS, np.float32),
        reference=np.asarray(-0.9 * WEIGHTS, np.float32),
    ),
)


def objective(**changes: Any) -> GrpoObjective:
    grpo = GrpoSpec(temperature=TEMPERATURE, max_new_tokens=3, kl_beta=0.1, **changes)
    return GrpoObjective(TrainSpec(max_steps=1, grpo=grpo))


def bound(*, by_block: bool = False, shift: Any = 0.0) -> BoundModel:
    decoder: Any = Bigrams(shift)
    return BoundModel(decoder, jax.random.key(0), remat=False, by_block=by_block)


def part(rows: Batch, where: slice) -> Batch:
    pieces: Batch = jax.tree.map(lambda values: values[where], rows)
    return pieces


@pytest.mark.parametrize("by_block", [False, True])
def test_scores_are_those_at_the_temperature_of_sampling(
    by_block: bool,
) -> None:
    table = np.asarray(jax.nn.log_softmax(TABLE / TEMPERATURE))
    log_probs, entropies = objective().token_scores(bound(by_block=by_block), ROWS)
    expected = table[ROWS.tokens, ROWS.targets] * WEIGHTS
    np.testing.assert_allclose(log_probs, expected, atol=1e-5)
    by_token = -(np.exp(table) * table).sum(-1)
    np.testing.assert_allclose(entropies, by_token[ROWS.tokens] * WEIGHTS, atol=1e-5)


@pytest.mark.parametrize("loss", PolicyLoss)
@pytest.mark.parametrize("ratio", RatioLevel)
def test_parts_of_a_batch_add_up_and_padding_counts_nothing(
    loss: PolicyLoss, ratio: RatioLevel
) -> None:
    method = objective(loss=loss, ratio=ratio)
    weight = method.weight(ROWS)
    assert weight == {"grpo": 3, "dr_grpo": 9, "dapo": 6}[loss]
    whole, metrics = method.loss(bound(), ROWS, jnp.float32(weight))
    pieces = [
        method.loss(bound(), part(ROWS, slice(i, i + 1)), jnp.float32(weight)) for i in range(4)
    ]
    assert float(sum(value for value, _ in pieces)) == pytest.approx(float(whole), rel=1e-5)
    assert set(metrics) == {"entropy", "clip_share", "sampler_gap", "kl"}
    assert float(metrics["sampler_gap"]) == pytest.approx(0.2, rel=1e-5)
    for name, value in metrics.items():
        assert float(sum(m[name] for _, m in pieces)) == pytest.approx(float(value), rel=1e-5)


def test_logits_of_a_block_at_a_time_give_the_same_derivative() -> None:
    def slopes(by_block: bool) -> jax.Array:
        def of(shift: jax.Array) -> jax.Array:
            value, _ = objective().loss(bound(by_block=by_block, shift=shift), ROWS, jnp.float32(3))
            return value

        gradient: jax.Array = jax.grad(of)(jnp.asarray([0.1, -0.2, 0.3]))
        return gradient

    np.testing.assert_allclose(slopes(True), slopes(False), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(slopes(False))).max() > 0.01


def test_with_one_inner_step_the_old_probabilities_are_those_of_the_step() -> None:
    assert ROWS.sampled is not None
    rows = ROWS._replace(sampled=ROWS.sampled._replace(old=None))
    method = objective()
    now = method.token_scores(bound(), rows).log_probs
    stored = rows._replace(sampled=ROWS.sampled._replace(old=np.asarray(now)))
    losses = [float(method.loss(bound(), each, jnp.float32(3))[0]) for each in (rows, stored)]
    assert losses[0] == pytest.approx(losses[1])
