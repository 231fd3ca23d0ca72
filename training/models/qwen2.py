"""Qwen2 (arXiv:2407.10671) and Qwen2.5: Llama with biases on queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config import read_qwen2
from training.models.llama import llama_family
from training.models.llama_config import (
    LlamaConfig,
    dump_common,
    dump_windows,
    parse_with,
)


def parse_config(data: Mapping[str, Any]) -> LlamaConfig:
    """Read ``config.json``; errors as :func:`training.models.llama_config.parse_with`."""
    return parse_with(read_qwen2, data)


def dump_config(config: LlamaConfig) -> dict[str, Any]:
    """What ``config.json`` says about a Qwen2."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        **dump_common(config),
        **dump_windows(config),
    }


FAMILY = llama_family("qwen2", parse_config, dump_config)
"""Qwen2 and Qwen2.5, dense."""
