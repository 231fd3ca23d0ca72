"""Gemma 3 (arXiv:2503.19786), text only: Gemma 2 with norms of queries and keys, two rotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config_reader import ConfigReader, shorten
from tailrace.formats.model.families.gemma2 import (
    HEAD_DIM,
    GemmaConfig,
    gemma_family,
    read_gemma,
    write_gemma,
)
from tailrace.formats.model.families.llama import FULL, SLIDING
from tailrace.formats.model.rope import Rope, read_rope, write_rope

_THETA, _LOCAL_THETA = 1_000_000.0, 10_000.0
_FULL_EVERY = 6


def read(reader: ConfigReader) -> GemmaConfig:
    """Read the configuration of a Gemma 3."""
    pattern = reader.size("sliding_window_pattern", _FULL_EVERY)
    ropes = _read_ropes(reader)
    return read_gemma(reader, ropes=ropes, full_every=pattern, softcaps=(None, None), qk_norm=True)


def _read_ropes(reader: ConfigReader) -> tuple[Rope, Rope]:
    """Return the rotations of the layers without and with a window, in either spelling.

    ``rope_parameters`` has a block for each type of layer (transformers 5); older files have
    ``rope_theta``, ``rope_scaling`` and ``rope_local_base_freq``.
    """
    config = reader.data
    blocks = config.get("rope_parameters")
    if blocks is None:
        full = {"rope_theta": config.get("rope_theta")}
        local = {"rope_theta": config.get("rope_local_base_freq")}
    elif _has_blocks(blocks):
        full, local = ({**(blocks.get(name) or {})} for name in (FULL, SLIDING))
    else:
        reader.wrong(f"rope_parameters must have a block for {FULL} and one for {SLIDING}")
        return Rope(), Rope()
    scaling = config.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        reader.wrong(f"rope_scaling must be an object, not {shorten(scaling)}")
        scaling = {}
    full |= scaling
    return (
        _read_rope(reader, FULL, {"rope_theta": _THETA}, full),
        _read_rope(reader, SLIDING, {"rope_theta": _LOCAL_THETA}, local),
    )


def _has_blocks(blocks: object) -> bool:
    """Return True for an object with a block, or null, for no other key than the types of layer."""
    return (
        isinstance(blocks, Mapping)
        and set(blocks) <= {FULL, SLIDING}
        and all(block is None or isinstance(block, Mapping) for block in blocks.values())
    )


def _read_rope(
    reader: ConfigReader, name: str, defaults: Mapping[str, Any], block: Mapping[str, Any]
) -> Rope:
    values = {**defaults, **{key: value for key, value in block.items() if value is not None}}
    context = reader.data.get("max_position_embeddings")
    layer = ConfigReader({"rope_parameters": values, "max_position_embeddings": context})
    rope = read_rope(layer, reader.size("head_dim", HEAD_DIM))
    for problem in layer.problems:
        reader.wrong(f"{problem} ({name})")
    return rope


def write(config: GemmaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    full, local = (write_rope(rope)["rope_parameters"] for rope in (config.rope, config.local_rope))
    older = {"rope_theta": config.rope.theta, "rope_local_base_freq": config.local_rope.theta}
    return {**write_gemma(config), "rope_parameters": {FULL: full, SLIDING: local}, **older}


FAMILY = gemma_family("gemma3_text", "Gemma3ForCausalLM", read, write)
"""Gemma 3's record, for text models."""
