from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats import catalog
from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.tensors import expected_shapes
from training.errors import ModelConfigError
from training.models.registry import (
    DECODERS,
    PRESET_VOCABULARY,
    PRESETS,
    model_from_config,
    preset_config,
)


def test_presets_are_those_that_run_specs_accept() -> None:
    contexts = {name: config["n_positions"] for name, config in PRESETS.items()}
    assert contexts == catalog.PRESETS
    assert set(PRESETS) == set(PRESET_VOCABULARY)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_model_of_any_size_is_described_without_memory(model_type: str) -> None:
    width = 2**28
    sizes = {"n_embd": width} if model_type == "gpt2" else {"hidden_size": width}
    base = GPT2 if model_type == "gpt2" else LLAMA
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    heads = {"n_head": 2} if model_type == "gpt2" else {"num_key_value_heads": 4}
    tracemalloc.start()
    try:
        model_from_config({**base, "model_type": model_type, **experts, **heads, **sizes})
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_every_family_has_a_decoder_and_no_decoder_is_without_a_family() -> None:
    assert {family.decoder for family in FAMILIES.values()} == set(DECODERS)


GPT2 = {"vocab_size": 20, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 3}
LLAMA = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "head_dim": None,
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{}, {"n_inner": 7}, {"tie_word_embeddings": False}, {"n_inner": None}],
    "llama": [
        {},
        {"num_key_value_heads": 2, "tie_word_embeddings": True},
        {"attention_bias": True, "mlp_bias": True, "head_dim": 6},
    ],
    "mistral": [{"num_key_value_heads": 1}, {"attention_bias": True, "mlp_bias": True}],
    "qwen2": [{}, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}],
    "qwen3": [{}, {"attention_bias": True, "head_dim": 8, "num_key_value_heads": 2}],
    "gemma2": [{}, {"attention_bias": True, "head_dim": 6, "tie_word_embeddings": False}],
    "gemma3_text": [{}, {"head_dim": 6, "num_key_value_heads": 2}],
    "olmo2": [{}, {"num_key_value_heads": 2}, {"attention_bias": True}],
    "phi3": [{}, {"num_key_value_heads": 2, "sliding_window": 4}],
    "granite": [{}, {"attention_bias": True, "mlp_bias": True, "embedding_multiplier": 12.0}],
    "mixtral": [
        {"num_key_value_heads": 4},
        {"num_local_experts": 3, "sliding_window": 4, "num_key_value_heads": 2},
    ],
    "qwen3_moe": [
        {"num_experts": 3, "num_experts_per_tok": 2, "attention_bias": True},
        {"num_experts": 9, "moe_intermediate_size": 6, "decoder_sparse_step": 2},
    ],
    "smollm3": [{}, {"no_rope_layers": [1, 0], "attention_bias": True, "mlp_bias": True}],
}


@pytest.mark.parametrize(
    ("model_type", "changes"), [(name, made) for name, all_ in VARIANTS.items() for made in all_]
)
def test_shapes_are_known_from_the_configuration(model_type: str, changes: dict[str, Any]) -> None:
    base = GPT2 if model_type == "gpt2" else LLAMA
    config = {"model_type": model_type, **base, **changes}
    shapes = model_from_config(config).stored_shapes
    assert dict(sorted(expected_shapes(config).items())) == shapes


def test_nano() -> None:
    model = model_from_config(preset_config("gpt2-nano", 384))
    config = model.config
    assert (config.n_layer, config.n_embd, config.n_head) == (4, 128, 4)
    assert config.vocab_size <= 400
    assert (config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) == (0, 0, 0)


@pytest.mark.parametrize("name", ["mamba", None, 3])
def test_unknown_architecture_lists_the_known(name: object) -> None:
    with pytest.raises(ModelConfigError, match=f"known: {', '.join(FAMILIES)}"):
        model_from_config({"model_type": name})


def test_a_models_own_code_is_never_run() -> None:
    config = {"model_type": "odd", "auto_map": {"AutoModelForCausalLM": "modeling_odd.Odd"}}
    with pytest.raises(ModelConfigError, match=r"own code \(auto_map\) is never run"):
        model_from_config(config)


def test_quantized_weights_are_refused() -> None:
    config = {**preset_config("gpt2-nano", 384), "quantization_config": {"quant_method": "gptq"}}
    with pytest.raises(ModelConfigError, match="before its quantization"):
        model_from_config(config)


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ModelConfigError, match="known: gpt2-nano"):
        preset_config("gpt2-huge", 1)


SIZES = ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "num_hidden_layers"]
SIZES += ["hidden_size", "intermediate_size", "num_attention_heads", "max_position_embeddings"]
OTHERS = ["rope_parameters", "rope_scaling", "rope_theta", "layer_types", "sliding_window"]
OTHERS += ["use_sliding_window", "max_window_layers", "hidden_act", "head_dim", "bos_token_id"]
OTHERS += ["tie_word_embeddings", "num_key_value_heads", "activation_function", "attention_bias"]
OTHERS += ["no_rope_layers", "no_rope_layer_interval", "logits_scaling", "attention_multiplier"]
OTHERS += ["attn_logit_softcapping", "query_pre_attn_scalar", "sliding_window_pattern"]
OTHERS += ["num_experts", "num_local_experts", "num_experts_per_tok", "mlp_only_layers"]
OTHERS += ["decoder_sparse_step", "moe_intermediate_size", "router_aux_loss_coef"]
OTHERS += ["partial_rotary_factor", "original_max_position_embeddings"]
ROPE = ["rope_type", "type", "factor", "rope_theta", "original_max_position_embeddings"]

scalars = st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=3)
words = st.sampled_from(["yarn", "llama3", "linear", "dynamic", "default", "silu"])
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ROPE), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("family", FAMILIES)
@given(
    sizes=st.fixed_dictionaries(dict.fromkeys(SIZES, st.sampled_from([1, 2, 4, 8]))),
    others=st.dictionaries(st.sampled_from(SIZES + OTHERS), values),
)
def test_any_configuration_is_read_or_refused(
    family: str, sizes: dict[str, Any], others: dict[str, Any]
) -> None:
    record = FAMILIES[family]

    def read(data: dict[str, Any]) -> tuple[Any, list[str]]:
        reader = ConfigReader(data)
        return record.read(reader), reader.problems

    config, problems = read({**sizes, **others})
    if not problems:
        assert read(record.dump_config(config)) == (config, [])
