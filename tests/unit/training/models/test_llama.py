"""The Llama architecture, as every family that sets its switches has it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.model.rope import Rope
from training.errors import ModelConfigError
from training.models.family import Model, Params
from training.models.registry import model_from_config

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "olmo2", "granite", "smollm3", "phi3"]
FAMILIES += ["mixtral", "qwen3_moe"]


def make(family: str = "llama", **changes: Any) -> Model:
    return model_from_config({**CONFIG, "model_type": family, **changes})


def values(model: Model) -> Params:
    """Parameters without a compilation for each of their shapes."""
    generator = np.random.default_rng(0)
    return {
        name: jnp.asarray(generator.standard_normal(shape, np.float32) / 4)
        for name, shape in model.shapes.items()
    }


def test_defaults_are_those_of_llama() -> None:
    config = model_from_config({**CONFIG, "num_key_value_heads": None}).config
    assert (config.num_key_value_heads, config.head_dim) == (4, 4)
    assert (config.hidden_act, config.rms_norm_eps, config.rope) == ("silu", 1e-6, Rope())
    assert not any((config.tie_word_embeddings, config.qkv_bias, config.mlp_bias, config.qk_norm))
    assert config.sliding_window is None


@pytest.mark.parametrize("family", FAMILIES)
def test_dump_is_the_inverse_of_parse(family: str) -> None:
    changes = {
        "head_dim": 6,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
        "sliding_window": 7,
        "use_sliding_window": True,
        "max_window_layers": 1,
        "rope_theta": 5e5,
        "bos_token_id": 1,
        "pad_token_id": 3,
        "attention_dropout": 0.1,
    }
    model = make(family, **changes)
    written = model.family.dump_config(model.config)
    assert written["model_type"] == family
    assert model_from_config(written).config == model.config


def test_the_names_are_those_of_hugging_face() -> None:
    plain = {name for name in make().shapes if "layers.0" in name}
    linear = {f"self_attn.{part}_proj" for part in "qkvo"}
    linear |= {f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    norms = {"input_layernorm", "post_attention_layernorm"}
    assert plain == {f"model.layers.0.{place}.weight" for place in linear | norms}
    biased = make(attention_bias=True, mlp_bias=True)
    extra = {name for name in biased.shapes if "layers.0" in name} - plain
    assert extra == {f"model.layers.0.{place}.bias" for place in linear}


def test_tied_embeddings_have_no_output_layer() -> None:
    tied, untied = make(tie_word_embeddings=True), make()
    assert set(untied.shapes) - set(tied.shapes) == {"lm_head.weight"}


def test_a_window_hides_what_lies_before_it() -> None:
    tokens, positions = np.asarray([[0, 2, 3, 4, 5]]), np.arange(5)[None]

    def last(family: str) -> Any:
        model = make(family, sliding_window=3, num_hidden_layers=1)
        params, mask = values(model), jnp.tril(jnp.ones((1, 5, 5), bool))
        return jax.jit(lambda t: model.bind(params).hidden(t, positions, mask)[0][0, -1])

    other = np.asarray([[9, 2, 3, 4, 5]])
    mistral, llama = last("mistral"), last("llama")
    np.testing.assert_array_equal(mistral(tokens), mistral(other))
    assert not np.allclose(llama(tokens), llama(other))


@pytest.mark.parametrize("family", FAMILIES)
def test_cache_gives_what_the_whole_sequence_gives(family: str) -> None:
    model = make(family, sliding_window=2, head_dim=8)
    params = values(model)
    tokens = jnp.asarray([[5, 9, 2, 7, 1, 3]])
    step = jax.jit(lambda *arguments: model.bind(params).hidden(*arguments))
    whole, _ = step(tokens, jnp.arange(6)[None], jnp.tril(jnp.ones((1, 6, 6), bool)))
    cache = model.empty_cache(1, 8)
    parts = []
    for start, stop in ((0, 4), (4, 5), (5, 6)):
        mask = jnp.arange(8)[None, :] <= jnp.arange(start, stop)[:, None]
        positions = jnp.arange(start, stop)[None]
        hidden, cache = step(tokens[:, start:stop], positions, mask[None], cache, start)
        parts.append(hidden)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)


def test_dropout_follows_its_key() -> None:
    model = make(attention_dropout=0.5)
    params = values(model)
    arguments = (jnp.asarray([[1, 2, 3]]), jnp.arange(3)[None], jnp.ones((1, 3, 3), bool))
    compute = jax.jit(lambda key: model.bind(params).hidden(*arguments, dropout_key=key)[0])
    first, second = compute(jax.random.key(1)), compute(jax.random.key(2))
    np.testing.assert_array_equal(first, compute(jax.random.key(1)))
    assert not np.allclose(first, second)


def test_bfloat16_parameters_compute_in_bfloat16() -> None:
    model = make(tie_word_embeddings=True)
    half = {name: value.astype(jnp.bfloat16) for name, value in values(model).items()}
    cache = model.empty_cache(1, 4, jnp.bfloat16)
    positions, mask = np.arange(2)[None], jnp.ones((1, 2, 4), bool)

    @jax.jit
    def compute(tokens: Any) -> Any:
        decoder = model.bind(half)
        hidden, rows = decoder.hidden(tokens, positions, mask, cache)
        return hidden, decoder.logits(hidden), rows[0].key

    for made in compute(np.asarray([[1, 2]])):
        assert made.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("changes", "complaints"),
    [
        ({"num_attention_heads": 3}, ["hidden_size 16 must be a multiple of 3 heads"]),
        ({"num_key_value_heads": 3}, ["heads 4 must be a multiple of 3 key heads"]),
        ({"head_dim": 5}, ["head_dim must be even, not 5"]),
        ({"hidden_act": "magic", "vocab_size": 0}, ["hidden_act must", "vocab_size must"]),
        ({"rope_scaling": {"rope_type": "x"}, "hidden_size": None}, ["rope_", "hidden_s"]),
    ],
)
def test_refused(changes: dict[str, Any], complaints: list[str]) -> None:
    with pytest.raises(ModelConfigError) as caught:
        make(**changes)
    for complaint in complaints:
        assert complaint in str(caught.value)
