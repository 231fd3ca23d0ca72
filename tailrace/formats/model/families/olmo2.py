"""OLMo 2 (arXiv:2501.00656): Llama with norms after the layers and of all queries and keys."""

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

_EPSILON = 1e-5


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of an OLMo 2."""
    biased = reader.flag("attention_bias", False)
    common = {**read_common(reader), "rms_norm_eps": reader.number("rms_norm_eps", _EPSILON)}
    return LlamaConfig(
        **common, qkv_bias=biased, output_bias=biased, whole_qk_norm=True, post_norm=True
    )


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    return {**write_common(config), "attention_bias": config.qkv_bias}


FAMILY = llama_family("olmo2", "Olmo2ForCausalLM", read, write, TokenizerRule(fixed=True))
"""OLMo 2's record."""
