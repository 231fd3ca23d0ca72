"""Mistral (Jiang et al., arXiv:2310.06825): Llama with sliding-window attention in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config import read_mistral
from training.models.llama import llama_family
from training.models.llama_config import LlamaConfig, dump_common, parse_with


def parse_config(data: Mapping[str, Any]) -> LlamaConfig:
    """Read ``config.json``; errors as :func:`training.models.llama_config.parse_with`."""
    return parse_with(read_mistral, data)


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
