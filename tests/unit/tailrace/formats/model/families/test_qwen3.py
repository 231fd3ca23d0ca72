from __future__ import annotations

from typing import Any

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.tensors import expected_shapes

CONFIG: dict[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def test_queries_and_keys_have_norms_of_the_head_width() -> None:
    shapes = expected_shapes({**CONFIG, "head_dim": 6})
    for part in "qk":
        assert shapes[f"model.layers.0.self_attn.{part}_norm.weight"] == (6,)
    assert not [name for name in shapes if name.endswith("bias")]


def test_heads_are_128_wide_unless_the_configuration_says_otherwise() -> None:
    assert read_model_config(CONFIG).head_dim == 128
    assert read_model_config({**CONFIG, "head_dim": 8}).head_dim == 8


def test_attention_may_have_biases() -> None:
    config = read_model_config({**CONFIG, "attention_bias": True})
    assert config.qkv_bias
    assert config.output_bias
