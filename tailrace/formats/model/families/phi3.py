"""Phi-3 and Phi-4 (arXiv:2404.14219): Llama with fused projections, partial rotation, LongRoPE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config_reader import ConfigReader, shorten
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import (
    LlamaConfig,
    llama_family,
    read_common,
    write_common,
)
from tailrace.formats.model.rope import Rope, write_rope

_CONTEXT = 4096
_EPSILON = 1e-5
_LONGROPE = ("longrope", "su", "yarn")
"""Words for LongRoPE; the last two are those of old files."""

_ROPE_KEYS = ("rope_parameters", "rope_scaling", "partial_rotary_factor")
_MOST_FACTORS = 65_536


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Phi-3."""
    reader.fixed({"resid_pdrop": 0.0, "embd_pdrop": 0.0})
    window = reader.data.get("sliding_window")
    plain = {k: v for k, v in reader.data.items() if k not in _ROPE_KEYS}
    common_reader = ConfigReader(plain)
    common = read_common(common_reader)
    for problem in common_reader.problems:
        reader.wrong(problem)
    layers = common["num_hidden_layers"] if window is not None else 0
    return LlamaConfig(
        **{
            **common,
            "rms_norm_eps": reader.number("rms_norm_eps", _EPSILON),
            "rope": _read_rope(reader, common["head_dim"], common["max_position_embeddings"]),
        },
        fused=True,
        sliding_window=None if window is None else reader.size("sliding_window"),
        sliding_layers=(True,) * layers,
    )


def _read_rope(reader: ConfigReader, width: int, context: int) -> Rope:
    """Read the rotation; ``width`` is that of a head, ``context`` the longest sequence."""
    block = reader.data.get("rope_scaling") or reader.data.get("rope_parameters") or {}
    if not isinstance(block, Mapping):
        reader.wrong(f"rope_parameters must be an object, not {shorten(block)}")
        return Rope()
    outer = {name: reader.data.get(name) for name in ("rope_theta", "partial_rotary_factor")}
    rope = ConfigReader({**{k: v for k, v in outer.items() if v is not None}, **block})
    fraction = rope.number("partial_rotary_factor", 1.0, minimum=1e-3, maximum=1.0)
    theta = rope.number("rope_theta", 10_000.0, minimum=1.0)
    kind = rope.data.get("rope_type") or rope.data.get("type") or "default"
    values: dict[str, Any] = {}
    rotated = int(width * fraction)
    if rotated % 2 or not rotated:
        rope.wrong(f"partial_rotary_factor {fraction:g} must rotate an even number of channels")
    if kind in _LONGROPE:
        original = reader.size("original_max_position_embeddings", _CONTEXT)
        original = rope.size("original_max_position_embeddings", original)
        values = {
            "short_factor": _factors(rope, "short_factor", rotated // 2),
            "long_factor": _factors(rope, "long_factor", rotated // 2),
            "factor": rope.number("factor", context / original, minimum=1e-3),
            "original_max_position_embeddings": original,
        }
        if rope.data.get("attention_factor") is not None:
            values["attention_factor"] = rope.number("attention_factor", None)
    elif kind != "default":
        rope.wrong(f"rope_type must be default or longrope, not {shorten(kind)}")
    for problem in rope.problems:
        reader.wrong(f"rope_parameters.{problem}")
    return Rope(theta, "longrope" if values else "default", values, fraction)


def _factors(rope: ConfigReader, name: str, count: int) -> tuple[float, ...]:
    factors = rope.data.get(name)
    valid = isinstance(factors, (list, tuple)) and len(factors) == count <= _MOST_FACTORS
    if not valid or any(isinstance(f, bool) or not _is_factor(f) for f in factors or ()):
        rope.wrong(f"{name} must be a list of {count} numbers above 0, not {shorten(factors)}")
        return (1.0,) * min(count, _MOST_FACTORS)
    return tuple(map(float, factors or ()))


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < 1e6


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    content = {**write_common(config), "sliding_window": config.sliding_window}
    if config.rope.kind == "longrope":
        original = config.rope.values["original_max_position_embeddings"]
        content |= write_rope(config.rope) | {"original_max_position_embeddings": original}
    return content


FAMILY = llama_family("phi3", "Phi3ForCausalLM", read, write, TokenizerRule(fixed=True))
"""The record of Phi-3 and Phi-4."""
