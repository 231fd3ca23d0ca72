from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families.gpt2 import FAMILY, Gpt2Config
from training.models.registry import model_from_config

CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 50,
    "n_positions": 16,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
}


def test_defaults_are_those_of_gpt2() -> None:
    assert read_model_config(CONFIG) == Gpt2Config(
        vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2, n_inner=32
    )


def test_dump_is_the_inverse_of_parse() -> None:
    changed = {
        **CONFIG,
        "n_inner": 12,
        "activation_function": "relu",
        "attn_pdrop": 0.0,
        "tie_word_embeddings": False,
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
        "reorder_and_upcast_attn": True,
    }
    config = read_model_config(changed)
    assert read_model_config(FAMILY.dump_config(config)) == config


@pytest.mark.parametrize(
    ("changes", "complaints"),
    [
        ({"n_head": 3}, ["n_embd 8 must be a multiple of n_head 3"]),
        ({"n_layer": 0, "vocab_size": "x"}, ["n_layer must be", "vocab_size must be"]),
        ({"activation_function": "magic"}, ["activation_function must be one of gelu_new"]),
        ({"add_cross_attention": True}, ["add_cross_attention must be False"]),
        ({"scale_attn_by_inverse_layer_idx": 1}, ["scale_attn_by_inverse_layer_idx must be true"]),
        ({"tie_word_embeddings": 0, "n_embd": None}, ["tie_word_embeddings", "n_embd"]),
        ({"attn_pdrop": 1.5}, ["attn_pdrop must be a number from 0 to 1, not 1.5"]),
    ],
)
def test_refused(changes: dict[str, Any], complaints: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        read_model_config({**CONFIG, **changes})
    for complaint in complaints:
        assert complaint in str(caught.value)


def test_a_later_token_changes_nothing_before_it() -> None:
    model = model_from_config(CONFIG)
    params = model.init(0)
    mask = jnp.tril(jnp.ones((1, 4, 4), bool))
    positions = jnp.arange(4)[None]
    hidden = jax.jit(lambda tokens: model.bind(params).hidden(tokens, positions, mask)[0])
    first, second = hidden(jnp.asarray([[1, 2, 3, 4]])), hidden(jnp.asarray([[1, 2, 3, 9]]))
    np.testing.assert_allclose(first[:, :3], second[:, :3], atol=1e-6)
    assert not np.allclose(first[:, 3], second[:, 3])


def test_dropout_follows_its_key() -> None:
    model = model_from_config({**CONFIG, "resid_pdrop": 0.5})
    params = model.init(0)
    arguments = (jnp.asarray([[1, 2]]), jnp.arange(2)[None], jnp.ones((1, 2, 2), bool))
    compute = jax.jit(lambda key: model.bind(params).hidden(*arguments, dropout_key=key)[0])

    def hidden(seed: int | None) -> jax.Array:
        out: jax.Array = compute(None if seed is None else jax.random.key(seed))
        return out

    np.testing.assert_array_equal(hidden(1), hidden(1))
    assert not np.allclose(hidden(1), hidden(2))
    assert not np.allclose(hidden(1), hidden(None))


def test_bfloat16_parameters_compute_in_bfloat16() -> None:
    model = model_from_config(CONFIG)
    half = {name: jnp.ones(shape, jnp.bfloat16) for name, shape in model.shapes.items()}
    cache = model.empty_cache(1, 4, jnp.bfloat16)
    positions, mask = np.arange(2)[None], jnp.ones((1, 2, 4), bool)

    @jax.jit
    def compute(tokens: Any) -> Any:
        decoder = model.bind(half)
        hidden, rows = decoder.hidden(tokens, positions, mask, cache)
        return hidden, decoder.logits(hidden), rows[0].key

    for made in compute(np.asarray([[1, 2]])):
        assert made.dtype == jnp.bfloat16
