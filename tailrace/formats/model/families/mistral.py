"""Mistral (Jiang et al., arXiv:2310.06825): Llama with sliding-window attention in every layer."""

from __future__ import annotations

from typing import Any

from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import (
    LlamaConfig,
    llama_family,
    read_common,
    write_common,
)

_WINDOW = 4096


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Mistral."""
    common = read_common(reader)
    # Absent means the original's window, null means none.
    if reader.data.get("sliding_window", _WINDOW) is None:
        return LlamaConfig(**common)
    window = reader.size("sliding_window", _WINDOW)
    slides = (True,) * common["num_hidden_layers"]
    return LlamaConfig(**common, sliding_window=window, sliding_layers=slides)


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    return {**write_common(config), "sliding_window": config.sliding_window}


FAMILY = llama_family("mistral", "MistralForCausalLM", read, write, TokenizerRule(fixed=True))
"""Mistral's record, for Mistral 7B and its successors of the same architecture."""
