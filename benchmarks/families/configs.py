"""One middle-sized model of every family: 10 to 20 million parameters, the same sizes in all."""

from __future__ import annotations

from typing import Any

from tailrace.formats.model.families import FAMILIES

_SIZES = {
    "vocab_size": 8192,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
_DENSE: dict[str, dict[str, Any]] = {
    "granite": {"residual_multiplier": 0.22, "attention_multiplier": 0.125},
    "gemma2": {"query_pre_attn_scalar": 64, "sliding_window": 64},
    "gemma3_text": {"query_pre_attn_scalar": 64, "sliding_window": 64},
    "mistral": {"sliding_window": 64},
}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"intermediate_size": 512, "num_local_experts": 4},
    "qwen3_moe": {"moe_intermediate_size": 256, "num_experts": 8, "num_experts_per_tok": 2},
}
"""Families with experts: their further settings."""

_GPT2 = {
    "vocab_size": 8192,
    "n_positions": 512,
    "n_embd": 384,
    "n_layer": 6,
    "n_head": 6,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
}


def _config(name: str) -> dict[str, Any]:
    if name == "gpt2":
        return {"model_type": name, **_GPT2}
    return {"model_type": name, **_SIZES, **_DENSE.get(name, {}), **MIXTURES.get(name, {})}


CONFIGS: dict[str, dict[str, Any]] = {name: _config(name) for name in FAMILIES}
"""``config.json`` of every family, by model_type."""
