"""Small random model folders, as transformers saves them, with a tokenizer of golden-v2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from tailrace.formats.data.golden import golden_v2
from training.data.tokenizer import train_tokenizer

CONTEXT = 256
"""Longest sequence, in tokens."""

VOCABULARY = 400
"""Largest number of tokens."""

_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
}
_WINDOW = {"sliding_window": 32}

SETTINGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
    "llama": _SIZES,
    "mistral": {**_SIZES, **_WINDOW},
    "qwen2": {**_SIZES, "tie_word_embeddings": True},
    "qwen3": {**_SIZES, "head_dim": 32},
    "olmo2": _SIZES,
    "granite": {
        **_SIZES,
        "embedding_multiplier": 6.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.2,
        "logits_scaling": 2.0,
    },
    "smollm3": {**_SIZES, "no_rope_layer_interval": 2},
    "gemma2": {**_SIZES, **_WINDOW, "query_pre_attn_scalar": 16},
    "gemma3_text": {
        **_SIZES,
        **_WINDOW,
        "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi3": {
        **_SIZES,
        "original_max_position_embeddings": 128,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 4.0],
        },
    },
    "qwen3_moe": {
        **_SIZES,
        "moe_intermediate_size": 64,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
    "mixtral": {**_SIZES, "num_local_experts": 4, "num_experts_per_tok": 2},
}
"""Settings of ``config.json`` by ``model_type``; the rest are the defaults of transformers."""


def tokenizer() -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer of golden-v2's texts."""
    texts = [text for trace in golden_v2() for text in (trace.prompt, trace.answer)]
    return train_tokenizer(texts, VOCABULARY, CONTEXT)


def config(family: str, vocabulary: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """Return the configuration of a family's small model."""
    end = vocabulary.eos_token_id
    return AutoConfig.for_model(
        family,
        vocab_size=len(vocabulary),
        initializer_range=0.1,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        **SETTINGS[family],
    )


def save_random(family: str, folder: Path, seed: int) -> None:
    """Write the folder of a model with random weights; needs PyTorch."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    vocabulary = tokenizer()
    AutoModelForCausalLM.from_config(config(family, vocabulary)).save_pretrained(folder)
    vocabulary.save_pretrained(folder)
