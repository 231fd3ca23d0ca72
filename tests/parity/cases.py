"""The cases that are compared with transformers: one for each way that a family computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GOLDENS = Path(__file__).parent / "goldens"
"""What make_goldens.py wrote: a model folder for each case, and what PyTorch computes with it."""

ADAPTERS = Path(__file__).parent / "adapters"
"""What make_adapters.py wrote: a PEFT adapter for each case of :data:`ADAPTER_TARGETS`."""

VOCABULARY = 61
BATCH = (3, 12)
"""Rows and tokens whose logits, loss and gradients are compared."""

RESPONSE_START = 5

BALANCE_LENGTHS = (12, 7, 10)
"""Tokens of each row whose experts are balanced; the rest is padding."""

BALANCE_FACTOR = 0.7

PROMPT_LENGTHS = (12, 40, 3, 21, 7)
NEW_TOKENS = 40
ENDS_AT = 11
"""The first prompt's continuation ends with this token of it, if it gets so far, which is made an
end of sequence beside the usual one."""

_GPT2 = {"n_positions": 96, "n_embd": 16, "n_layer": 2, "n_head": 2}
_LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}
_MIXTURE = {**_LLAMA, "num_experts_per_tok": 2}
_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", _GPT2),
    "gpt2_untied": ("GPT2", {**_GPT2, "tie_word_embeddings": False, "n_inner": 20}),
    "gpt2_scaled": (
        "GPT2",
        {
            **_GPT2,
            "scale_attn_by_inverse_layer_idx": True,
            "reorder_and_upcast_attn": True,
            "n_inner": 20,
        },
    ),
    "gpt2_unscaled": ("GPT2", {**_GPT2, "scale_attn_weights": False, "n_layer": 1}),
    "llama": ("Llama", {**_LLAMA, "tie_word_embeddings": False}),
    "llama_biased": ("Llama", {**_LLAMA, "attention_bias": True, "mlp_bias": True}),
    "llama3": (
        "Llama",
        {**_LLAMA, "tie_word_embeddings": True, "head_dim": 8, "rope_parameters": _SCALING},
    ),
    "mistral": ("Mistral", {**_LLAMA, "sliding_window": 5, "head_dim": 6}),
    "qwen2": ("Qwen2", {**_LLAMA, "tie_word_embeddings": True}),
    "qwen2_sliding": (
        "Qwen2",
        {**_LLAMA, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {**_LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": (
        "Gemma2",
        {**_LLAMA, "head_dim": 6, "sliding_window": 5, "query_pre_attn_scalar": 9},
    ),
    "gemma2_uncapped": (
        "Gemma2",
        {
            **_LLAMA,
            "head_dim": 4,
            "attention_bias": True,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "layer_types": ["full_attention", "sliding_attention"],
            "sliding_window": 4,
            "tie_word_embeddings": False,
        },
    ),
    "gemma3": (
        "Gemma3",
        {
            **_LLAMA,
            "head_dim": 6,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 700.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
            },
        },
    ),
    "olmo2": ("Olmo2", _LLAMA),
    "olmo2_biased": ("Olmo2", {**_LLAMA, "attention_bias": True, "tie_word_embeddings": True}),
    "granite": (
        "Granite",
        {
            **_LLAMA,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.4,
            "logits_scaling": 1.7,
            "attention_bias": True,
        },
    ),
    "llama_yarn": (
        "Llama",
        {
            **_LLAMA,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 300.0,
                "factor": 6.0,
                "original_max_position_embeddings": 16,
                "beta_fast": 4.0,
                "mscale": 0.8,
                "mscale_all_dim": 1.1,
                "truncate": False,
            },
        },
    ),
    # Every sequence is longer than its context.
    "llama_dynamic": (
        "Llama",
        {
            **_LLAMA,
            "max_position_embeddings": 8,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 300.0, "factor": 12.0},
        },
    ),
    "phi3": ("Phi3", {**_LLAMA, "sliding_window": 6}),
    "phi3_longrope": (
        "Phi3",
        {
            **_LLAMA,
            "hidden_size": 32,
            "max_position_embeddings": 384,
            "original_max_position_embeddings": 96,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 400.0,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.3, 2.1],
                "long_factor": [2.0, 5.0, 9.0],
            },
        },
    ),
    "mixtral": ("Mixtral", {**_MIXTURE, "num_local_experts": 5, "sliding_window": 7}),
    "qwen3_moe": (
        "Qwen3Moe",
        {
            **_MIXTURE,
            "head_dim": 6,
            "moe_intermediate_size": 12,
            "num_experts": 7,
            "num_experts_per_tok": 3,
            "norm_topk_prob": True,
            "num_hidden_layers": 3,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3_moe_unnormalized": (
        "Qwen3Moe",
        {
            **_MIXTURE,
            "moe_intermediate_size": 20,
            "num_experts": 5,
            "norm_topk_prob": False,
            "decoder_sparse_step": 2,
            "tie_word_embeddings": True,
        },
    ),
    # Sequences on both sides of the original context; two answers grow beyond it.
    "phi3_long": (
        "Phi3",
        {
            **_LLAMA,
            "original_max_position_embeddings": 10,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 400.0,
                "short_factor": [1.0, 1.4],
                "long_factor": [2.0, 7.0],
            },
        },
    ),
    "smollm3": ("SmolLM3", {**_LLAMA, "no_rope_layer_interval": 2}),
    "smollm3_sliding": (
        "SmolLM3",
        {**_LLAMA, "no_rope_layers": [0, 1], "use_sliding_window": True, "sliding_window": 5},
    ),
}
"""By name: the transformers class without its suffix, and its configuration."""

BALANCED = [name for name, (family, _) in CASES.items() if family in ("Mixtral", "Qwen3Moe")]
"""Cases with experts."""

ADAPTER_TARGETS: dict[str, list[str]] = {
    "gpt2": ["c_attn", "mlp.c_proj"],
    "llama": ["q_proj", "v_proj", "down_proj"],
    "mistral": [],
    "qwen2": ["k_proj", "gate_proj"],
    "qwen3": ["q_proj", "o_proj", "up_proj"],
    "gemma2": [],
    "gemma3": [],
    "olmo2": [],
    "granite": [],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "mixtral": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "qwen3_moe": ["q_proj", "o_proj"],
    "smollm3": [],
}
"""Linear layers with an adapter, by case; empty for all of them."""

SAMPLINGS: dict[str, dict[str, float]] = {
    "penalty": {"repetition_penalty": 1.3},
    "bonus": {"repetition_penalty": 0.7},
    "temperature": {"temperature": 0.6},
    "top_k": {"temperature": 1.0, "top_k": 5},
    "top_p": {"temperature": 1.0, "top_p": 0.9},
    "narrow_top_p": {"temperature": 1.0, "top_p": 0.01},
    "all": {"repetition_penalty": 1.2, "temperature": 1.5, "top_k": 20, "top_p": 0.8},
}
"""Ways of choosing tokens, as settings of transformers' processors."""
