"""Granite 3 and 4: Llama with the multipliers of maximal update (arXiv:2203.03466)."""

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

_MULTIPLIERS = (
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
)


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Granite."""
    biased = reader.flag("attention_bias", False)
    multipliers: dict[str, Any] = {name: reader.number(name, 1.0) for name in _MULTIPLIERS}
    if multipliers["logits_scaling"] == 0:
        reader.wrong("logits_scaling must be above 0, not 0")
    return LlamaConfig(
        **read_common(reader),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=reader.flag("mlp_bias", False),
        **multipliers,
    )


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    biases = {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}
    multipliers = {name: getattr(config, name) for name in _MULTIPLIERS}
    return {**write_common(config), **biases, **multipliers}


FAMILY = llama_family("granite", "GraniteForCausalLM", read, write, TokenizerRule(fixed=True))
"""Granite's record, for dense models."""
