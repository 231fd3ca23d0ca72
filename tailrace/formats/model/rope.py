"""Rotary position embedding (RoPE) settings of a config.json, in both of its spellings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.model.config_reader import ConfigReader, shorten

ROPE_KINDS: dict[str, dict[str, float | None]] = {
    "linear": {"factor": None},
    "dynamic": {"factor": None},
    "llama3": {
        "factor": None,
        "original_max_position_embeddings": None,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
    "yarn": {
        "factor": None,
        "original_max_position_embeddings": None,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "attention_factor": None,
    },
}
"""Settings of each scaling by ``rope_type``, with their defaults; ``default`` needs none."""

_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "truncate"}


@dataclass(frozen=True)
class Rope:
    """Rotary position embeddings of a model."""

    theta: float = 10_000.0
    """Base of the wavelengths."""
    kind: str = "default"
    """``rope_type``: a key of :data:`ROPE_KINDS`, or ``default``."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the scaling, defaults included."""
    fraction: float = 1.0
    """Share of each head's channels that are rotated, the first ones."""


def read_rope(reader: ConfigReader) -> Rope:
    """Read ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling`` (4)."""
    data = reader.data
    block = data.get("rope_scaling") or data.get("rope_parameters") or {}
    if not isinstance(block, Mapping):
        reader.wrong(f"rope_parameters must be an object, not {shorten(block)}")
        return Rope()
    outer = {name: data.get(name) for name in ("rope_theta", "partial_rotary_factor")}
    named = {**{k: v for k, v in outer.items() if v is not None}, **block}
    rope = ConfigReader({name: value for name, value in named.items() if value is not None})
    layered = sorted(name for name, value in rope.data.items() if isinstance(value, Mapping))
    if layered:
        rope.wrong(f"{layered[0]} is not supported: one setting must hold for all layers")
    kind = rope.data.get("rope_type") or rope.data.get("type") or "default"
    theta = rope.number("rope_theta", 10_000.0, minimum=1.0)
    rope.fixed({"partial_rotary_factor": 1.0, "truncate": True})
    values: dict[str, float] = {}
    if isinstance(kind, str) and kind in ROPE_KINDS:
        values = _read_scaling(ROPE_KINDS[kind], rope, data.get("max_position_embeddings"))
    elif kind != "default":
        kinds = ", ".join(ROPE_KINDS)
        rope.wrong(f"rope_type must be one of default, {kinds}, not {shorten(kind)}")
        kind = "default"
    for problem in rope.problems:
        reader.wrong(f"rope_parameters.{problem}")
    return Rope(theta, str(kind), values)


def with_theta(config: Mapping[str, Any], theta: float) -> dict[str, Any]:
    """Return a config.json with ``rope_theta`` where it names none."""
    block = config.get("rope_scaling") or config.get("rope_parameters")
    named = isinstance(block, Mapping) and "rope_theta" in block
    named = named or config.get("rope_theta") is not None
    return dict(config) if named else {**config, "rope_theta": theta}


def write_rope(rope: Rope) -> dict[str, Any]:
    """Return the keys of config.json, in both spellings, so that older programs read it, too."""
    scaling = None if rope.kind == "default" else {"rope_type": rope.kind, **rope.values}
    current = {**(scaling or {"rope_type": "default"}), "rope_theta": rope.theta}
    older = {"rope_theta": rope.theta, **({"rope_scaling": scaling} if scaling else {})}
    if rope.fraction != 1:
        current["partial_rotary_factor"] = older["partial_rotary_factor"] = rope.fraction
    return {"rope_parameters": current, **older}


def _read_scaling(
    defaults: Mapping[str, float | None], rope: ConfigReader, context: object
) -> dict[str, float]:
    """Read the settings of one scaling; ``context`` is the model's longest sequence."""
    values: dict[str, float] = {}
    for name, default in sorted(defaults.items()):
        if name == "original_max_position_embeddings":
            values[name] = rope.size(name, context if isinstance(context, int) else None)
        elif name == "factor":
            values[name] = rope.number(name, None, minimum=1.0)
        elif rope.data.get(name) is not None:
            values[name] = rope.number(name, None)
        elif default is not None:
            values[name] = default
    for name in sorted(set(rope.data) - set(defaults) - _COMMON):
        rope.wrong(f"{name} is not supported with this rope_type")
    return values
