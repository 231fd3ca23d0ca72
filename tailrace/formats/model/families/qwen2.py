"""Qwen2 (arXiv:2407.10671) and Qwen2.5: Llama with biases on queries, keys and values."""

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


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Qwen2."""
    return LlamaConfig(**read_common(reader), qkv_bias=True, **read_windows(reader))


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    return {**write_common(config), **write_windows(config)}


FAMILY = llama_family(
    "qwen2", "Qwen2ForCausalLM", read, write, TokenizerRule("Qwen2Tokenizer", fixed=True)
)
"""Qwen2's record, for dense models."""
