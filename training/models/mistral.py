"""Mistral (Jiang et al., arXiv:2310.06825): Llama with sliding-window attention in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.models.config_json import ConfigReader
from training.models.llama import llama_family
from training.models.llama_config import LlamaConfig, dump_common, read_common

_WINDOW = 4096


def parse_config(data: Mapping[str, Any]) -> LlamaConfig:
    """Read ``config.json``; errors as :func:`training.models.llama_config.read_common`."""
    reader = ConfigReader(data)
    # Absent means the original's window, null means none.
    if reader.data.get("sliding_window", _WINDOW) is None:
        return read_common(reader)
    window = reader.size("sliding_window", _WINDOW)
    slides = (True,) * reader.size("num_hidden_layers")
    return read_common(reader, sliding_window=window, sliding_layers=slides)


def dump_config(config: LlamaConfig) -> dict[str, Any]:
    """What ``config.json`` says about a Mistral."""
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        **dump_common(config),
        "sliding_window": config.sliding_window,
    }


FAMILY = llama_family("mistral", parse_config, dump_config)
"""Mistral 7B and its successors of the same architecture."""
