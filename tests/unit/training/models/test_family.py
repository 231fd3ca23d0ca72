from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.unit.training.conftest import TINY
from training.models.family import Model, Params
from training.models.registry import model_from_config


@pytest.fixture(scope="module")
def model() -> Model:
    return model_from_config({**TINY, "n_layer": 2, "vocab_size": 320})


@pytest.fixture(scope="module")
def params(model: Model) -> Params:
    return model.init(0)


def test_same_seed_same_parameters(model: Model) -> None:
    first, second, other = model.init(1), model.init(1), model.init(2)
    name = "transformer.h.0.attn.c_attn.weight"
    assert list(first) == list(model.shapes)
    assert {k: v.shape for k, v in first.items()} == model.shapes
    np.testing.assert_array_equal(first[name], second[name])
    assert not np.array_equal(first[name], other[name])


def test_parameter_count(model: Model) -> None:
    width, layers, vocabulary, context = 16, 2, 320, 64
    block = 12 * width * width + 13 * width
    assert model.parameters == (vocabulary + context) * width + layers * block + 2 * width


def test_cache_gives_what_the_whole_sequence_gives(model: Model, params: Params) -> None:
    tokens = jnp.asarray([[5, 9, 2, 7, 1, 3]])
    step = jax.jit(lambda *arguments: model.bind(params).hidden(*arguments))
    whole, _ = step(tokens, jnp.arange(6)[None], jnp.tril(jnp.ones((1, 6, 6), bool)))
    cache = model.empty_cache(1, 8)
    parts = []
    for start, stop in ((0, 3), (3, 6)):
        mask = jnp.arange(8)[None, :] <= jnp.arange(start, stop)[:, None]
        positions = jnp.arange(start, stop)[None]
        hidden, cache = step(tokens[:, start:stop], positions, mask[None], cache, start)
        parts.append(hidden)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)


def test_binding_different_parameters_changes_the_output(model: Model, params: Params) -> None:
    mask = jnp.ones((1, 1, 1), bool)
    one, two = jnp.asarray([[1]]), jnp.asarray([[0]])
    hidden = jax.jit(lambda params: model.bind(params).hidden(one, two, mask)[0])
    first, second = hidden(params), hidden({**params, "transformer.ln_f.bias": jnp.ones(16)})
    assert not np.allclose(first, second)
