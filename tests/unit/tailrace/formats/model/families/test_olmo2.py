from __future__ import annotations

from typing import Any

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.tensors import expected_shapes

CONFIG: dict[str, Any] = {
    "model_type": "olmo2",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def test_norms_follow_the_layers_and_span_all_heads() -> None:
    shapes = expected_shapes({**CONFIG, "num_key_value_heads": 2})
    block = {name for name in shapes if name.startswith("model.layers.0.") and "norm" in name}
    assert block == {
        f"model.layers.0.{name}.weight"
        for name in (
            "post_attention_layernorm",
            "post_feedforward_layernorm",
            "self_attn.q_norm",
            "self_attn.k_norm",
        )
    }
    assert shapes["model.layers.0.self_attn.q_norm.weight"] == (16,)
    assert shapes["model.layers.0.self_attn.k_norm.weight"] == (8,)


def test_the_epsilon_of_norms_has_its_own_default() -> None:
    assert read_model_config(CONFIG).rms_norm_eps == 1e-5
