from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tailrace.formats.spec.run_spec import Schedule, TrainSpec
from training.errors import ConfigError
from training.loop.optimizer import learning_rate, make_optimizer


def spec(**changes: object) -> TrainSpec:
    return TrainSpec(max_steps=100, learning_rate=1.0, warmup_steps=10, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [
        (Schedule.CONSTANT, 1.0, 1.0),
        (Schedule.LINEAR, 0.55, 0.1),
        (Schedule.COSINE, 0.55, 0.1),
    ],
)
def test_warm_up_then_schedule(schedule: Schedule, middle: float, end: float) -> None:
    rate = learning_rate(spec(schedule=schedule, min_learning_rate_ratio=0.1), 100)
    assert float(rate(0)) == pytest.approx(0.1)
    assert float(rate(9)) == pytest.approx(1.0)
    assert float(rate(54)) == pytest.approx(middle)
    assert float(rate(99)) == pytest.approx(end)


def test_cosine_is_a_cosine() -> None:
    rate = learning_rate(spec(schedule=Schedule.COSINE), 100)
    assert float(rate(32)) == pytest.approx((1 + math.cos(math.pi * 23 / 90)) / 2)


def test_no_warm_up_starts_at_the_peak() -> None:
    rate = learning_rate(TrainSpec(max_steps=5, learning_rate=0.5), 5)
    assert float(rate(0)) == pytest.approx(0.5)


def test_warm_up_longer_than_the_training() -> None:
    with pytest.raises(ConfigError, match=r"warmup_steps 10 is more than the 5 steps"):
        learning_rate(spec(), 5)


def _update(spec: TrainSpec, gradient: float) -> dict[str, np.ndarray]:
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    optimizer = make_optimizer(spec, optax.constant_schedule(0.1))
    gradients = {name: jnp.full_like(value, gradient) for name, value in params.items()}
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    return {name: np.asarray(value) for name, value in updates.items()}


def test_weight_decay_is_decoupled_and_spares_vectors() -> None:
    updates = _update(TrainSpec(max_steps=1, weight_decay=0.5), gradient=0.0)
    np.testing.assert_allclose(updates["w"], -0.1 * 0.5)
    np.testing.assert_allclose(updates["b"], 0.0)


@pytest.mark.parametrize(("limit", "expected"), [(1.0, 1 / math.sqrt(6)), (0.0, 100.0)])
def test_gradient_clip(limit: float, expected: float) -> None:
    optimizer = make_optimizer(
        TrainSpec(max_steps=1, gradient_clip=limit), optax.constant_schedule(1.0)
    )
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    gradients = {name: jnp.full_like(value, 100.0) for name, value in params.items()}
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    first_moment = optax.tree_utils.tree_get(state, "mu")
    np.testing.assert_allclose(first_moment["w"], 0.1 * expected, rtol=1e-5)
