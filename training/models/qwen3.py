"""Qwen3 (arXiv:2505.09388): Llama with normalized queries and keys and a head width of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config import read_qwen3
from training.models.llama import llama_family
from training.models.llama_config import (
    LlamaConfig,
    dump_common,
    dump_windows,
    parse_with,
)


def parse_config(data: Mapping[str, Any]) -> LlamaConfig:
    """Read ``config.json``; errors as :func:`training.models.llama_config.parse_with`."""
    return parse_with(read_qwen3, data)


def dump_config(config: LlamaConfig) -> dict[str, Any]:
    """What ``config.json`` says about a Qwen3."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **dump_common(config),
        **dump_windows(config),
        "attention_bias": config.qkv_bias,
    }


FAMILY = llama_family("qwen3", parse_config, dump_config)
"""Qwen3, dense."""
