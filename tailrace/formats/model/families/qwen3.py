"""Qwen3 (arXiv:2505.09388): Llama with normalized queries and keys and a separate head width."""

from __future__ import annotations

from typing import Any

from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import (
    LlamaConfig,
    llama_family,
    read_common,
    read_windows,
    write_common,
    write_windows,
)

_HEAD_DIM = 128


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Qwen3."""
    biased = reader.flag("attention_bias", False)
    return LlamaConfig(
        **read_common(reader, head_dim=_HEAD_DIM),
        qkv_bias=biased,
        output_bias=biased,
        qk_norm=True,
        **read_windows(reader),
    )


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    biases = {"attention_bias": config.qkv_bias}
    return {**write_common(config), **write_windows(config), **biases}


FAMILY = llama_family("qwen3", "Qwen3ForCausalLM", read, write, TokenizerRule("Qwen2Tokenizer"))
"""Qwen3's record, for dense models."""
