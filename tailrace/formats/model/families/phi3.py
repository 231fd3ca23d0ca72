"""Phi-3 and Phi-4 (arXiv:2404.14219): Llama with fused projections, partial rotation, LongRoPE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import (
    LlamaConfig,
    llama_family,
    read_common,
    write_common,
)

_CONTEXT = 4096
_EPSILON = 1e-5
_OLD_LONGROPE = ("su", "yarn")
"""Words for LongRoPE in old files."""


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Phi-3."""
    reader.fixed({"resid_pdrop": 0.0, "embd_pdrop": 0.0})
    _rename_rope(reader)
    window = reader.data.get("sliding_window")
    common = read_common(reader, original=_CONTEXT, partial=True)
    if common["rope"].kind not in ("default", "longrope"):
        kind = common["rope"].kind
        reader.wrong(f"rope_parameters.rope_type must be default or longrope, not {kind!r}")
    layers = common["num_hidden_layers"] if window is not None else 0
    return LlamaConfig(
        **{**common, "rms_norm_eps": reader.number("rms_norm_eps", _EPSILON)},
        fused=True,
        sliding_window=None if window is None else reader.size("sliding_window"),
        sliding_layers=(True,) * layers,
    )


def _rename_rope(reader: ConfigReader) -> None:
    """Replace the words that old files have for LongRoPE."""
    for key in ("rope_scaling", "rope_parameters"):
        block = reader.data.get(key)
        if not isinstance(block, Mapping):
            continue
        kind = block.get("rope_type") or block.get("type")
        if isinstance(kind, str) and kind in _OLD_LONGROPE:
            reader.data = {**reader.data, key: {**block, "rope_type": "longrope"}}


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    content = {**write_common(config), "sliding_window": config.sliding_window}
    if config.rope.kind == "longrope":
        original = config.rope.values["original_max_position_embeddings"]
        content["original_max_position_embeddings"] = original
    return content


FAMILY = llama_family("phi3", "Phi3ForCausalLM", read, write, TokenizerRule(fixed=True))
"""The record of Phi-3 and Phi-4."""
