from __future__ import annotations

from typing import Any

from training.models.qwen3 import parse_config
from training.models.registry import model_from_config

CONFIG: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def test_queries_and_keys_have_norms_of_the_head_width() -> None:
    shapes = model_from_config({**CONFIG, "model_type": "qwen3", "head_dim": 6}).shapes
    for part in "qk":
        assert shapes[f"model.layers.0.self_attn.{part}_norm.weight"] == (6,)
    assert not [name for name in shapes if name.endswith("bias")]


def test_heads_are_128_wide_unless_the_configuration_says_otherwise() -> None:
    assert parse_config(CONFIG).head_dim == 128
    assert parse_config({**CONFIG, "head_dim": 8}).head_dim == 8


def test_attention_may_have_biases() -> None:
    config = parse_config({**CONFIG, "attention_bias": True})
    assert config.qkv_bias
    assert config.output_bias
