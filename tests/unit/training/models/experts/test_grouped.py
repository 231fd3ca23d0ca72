from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from training.models.experts.grouped import group

EXPERTS, INPUTS, OUTPUTS = 5, 6, 4
ASSIGNED = [3, 0, 3, 3, 1, 3, 0, 3, 3, 3, 3, 3, 3]
"""More than a block of one expert, and none of two."""


def arrays() -> tuple[jax.Array, jax.Array]:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((len(ASSIGNED), INPUTS), np.float32)
    weights = generator.standard_normal((EXPERTS, OUTPUTS, INPUTS), np.float32)
    return jnp.asarray(rows), jnp.asarray(weights)


def expected(rows: jax.Array, weights: jax.Array) -> jax.Array:
    chosen: jax.Array = jnp.einsum("mi,moi->mo", rows, weights[np.asarray(ASSIGNED)])
    return chosen


@pytest.mark.parametrize("in_blocks", [True, False])
def test_products_and_gradients_are_those_of_single_rows(in_blocks: bool) -> None:
    def grouped(rows: jax.Array, weights: jax.Array) -> jax.Array:
        groups = group(jnp.asarray(ASSIGNED), EXPERTS, in_blocks=in_blocks)
        return groups.scatter(groups.multiply(groups.gather(rows), weights))

    def slopes(function: Any) -> Any:
        squares = jax.grad(lambda *both: jnp.sum(jnp.square(function(*both))), argnums=(0, 1))
        return jax.jit(lambda *both: (function(*both), squares(*both)))(*arrays())

    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5),
        slopes(grouped),
        slopes(expected),
    )


@pytest.mark.parametrize("in_blocks", [True, False])
def test_experts_elsewhere_give_zero(in_blocks: bool) -> None:
    rows, weights = arrays()

    @jax.jit
    def compute(rows: jax.Array, weights: jax.Array) -> jax.Array:
        groups = group(jnp.asarray(ASSIGNED) - 1, 2, in_blocks=in_blocks)
        return groups.scatter(groups.multiply(groups.gather(rows), weights))

    product = compute(rows, weights[1:3])
    here = np.isin(ASSIGNED, (1, 2))
    np.testing.assert_allclose(product[here], expected(rows, weights)[here], atol=1e-5)
    assert not np.asarray(product)[~here].any()


@pytest.mark.parametrize("assigned", [[0] * 40, list(range(40)), [39], [7, 7, 7]])
def test_no_assignment_is_dropped(assigned: list[int]) -> None:
    @jax.jit
    def places(experts: jax.Array) -> tuple[jax.Array, jax.Array]:
        groups = group(experts, 40, in_blocks=True)
        return groups.slots, groups.sources

    slots, sources = map(np.asarray, places(jnp.asarray(assigned)))
    assert len(set(slots.tolist())) == len(assigned)
    np.testing.assert_array_equal(sources[slots], np.arange(len(assigned)))
