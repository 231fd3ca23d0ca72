"""Rotary position embedding (RoPE) settings of a config.json, in both of its spellings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.model.config_reader import ConfigReader, shorten
from tailrace.formats.wording import name_text

_ORIGINAL = "original_max_position_embeddings"

ROPE_KINDS: dict[str, dict[str, float | None]] = {
    "linear": {"factor": None},
    "dynamic": {"factor": None},
    "llama3": {
        "factor": None,
        _ORIGINAL: None,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
    "yarn": {
        "factor": None,
        _ORIGINAL: None,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "attention_factor": None,
        "mscale": None,
        "mscale_all_dim": None,
        "truncate": None,
    },
    "longrope": {
        "factor": None,
        _ORIGINAL: None,
        "attention_factor": None,
        "short_factor": None,
        "long_factor": None,
    },
}
"""Settings of each scaling by ``rope_type``, with their defaults; ``default`` needs none."""

_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_LISTS = ("short_factor", "long_factor")
_MOST_FACTORS = 65_536
_SMALLEST, _LARGEST = 1e-3, 1e6
"""Smallest factor, and largest setting of a scaling."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embeddings of a model."""

    theta: float = 10_000.0
    """Base of the wavelengths."""
    kind: str = "default"
    """``rope_type``: a key of :data:`ROPE_KINDS`, or ``default``."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the scaling, defaults included. The original context of ``dynamic`` is the
    model's ``max_position_embeddings``."""
    fraction: float = 1.0
    """Share of each head's channels that are rotated, the first ones."""

    def longest_sequence(self, context: int) -> int:
        """Return the longest sequence of a model with ``max_position_embeddings`` of ``context``.

        ``dynamic`` stretches that context by its factor; the other scalings are contained in it.
        """
        return int(context * self.values["factor"]) if self.kind == "dynamic" else context

    def cache_limit(self, context: int) -> int | None:
        """Return the longest sequence whose cached keys hold; None if those of all sequences do.

        LongRoPE rotates a sequence beyond its original context by other frequencies, from its first
        token on. ``context`` is the longest sequence.
        """
        original: int = self.values.get(_ORIGINAL, context)
        return original if self.kind == "longrope" and original < context else None


def read_rope(
    reader: ConfigReader, width: int, *, original: int | None = None, partial: bool = False
) -> Rope:
    """Read ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling`` (4).

    Args:
        reader: Reader of config.json.
        width: Channels of a head.
        original: Original context where config.json lacks one (default:
            ``max_position_embeddings``).
        partial: True if the family may rotate a part of the channels only.
    """
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
        rope.wrong(
            f"{name_text(layered[0])} is not supported: one setting must hold for all layers"
        )
    kind = rope.data.get("rope_type") or rope.data.get("type") or "default"
    theta = rope.number("rope_theta", 10_000.0, minimum=1.0)
    fraction = _read_fraction(rope, width) if partial else 1.0
    if not partial:
        rope.fixed({"partial_rotary_factor": 1.0})
    values: dict[str, Any] = {}
    if isinstance(kind, str) and kind in ROPE_KINDS:
        rotated = int(width * fraction)
        values = _ScalingReader(rope, reader, kind, theta, rotated, original).read()
    elif kind != "default":
        kinds = ", ".join(ROPE_KINDS)
        rope.wrong(f"rope_type must be one of default, {kinds}, not {shorten(kind)}")
        kind = "default"
    for problem in rope.problems:
        reader.wrong(f"rope_parameters.{problem}")
    return Rope(theta, str(kind), values, fraction)


def with_theta(config: Mapping[str, Any], theta: float) -> dict[str, Any]:
    """Return a config.json with ``rope_theta`` where it names none."""
    block = config.get("rope_scaling") or config.get("rope_parameters")
    named = isinstance(block, Mapping) and "rope_theta" in block
    named = named or config.get("rope_theta") is not None
    return dict(config) if named else {**config, "rope_theta": theta}


def write_rope(rope: Rope) -> dict[str, Any]:
    """Return the keys of config.json, in both spellings, so that older programs read it, too."""
    names = ROPE_KINDS.get(rope.kind, {})
    values = {k: list(v) if k in _LISTS else v for k, v in rope.values.items() if k in names}
    scaling = None if rope.kind == "default" else {"rope_type": rope.kind, **values}
    current = {**(scaling or {"rope_type": "default"}), "rope_theta": rope.theta}
    older = {"rope_theta": rope.theta, **({"rope_scaling": scaling} if scaling else {})}
    if rope.fraction != 1:
        current["partial_rotary_factor"] = older["partial_rotary_factor"] = rope.fraction
    return {"rope_parameters": current, **older}


def _read_fraction(rope: ConfigReader, width: int) -> float:
    fraction = rope.number("partial_rotary_factor", 1.0, minimum=1e-3, maximum=1.0)
    rotated = int(width * fraction)
    if rotated % 2 or not rotated:
        rope.wrong(f"partial_rotary_factor {fraction:g} must rotate an even number of channels")
    return fraction


@dataclass(frozen=True)
class _ScalingReader:
    """Reader of one scaling's settings."""

    rope: ConfigReader
    config: ConfigReader
    kind: str
    theta: float
    """Base of the wavelengths."""
    rotated: int
    """Rotated channels of a head."""
    original: int | None
    """Original context where config.json lacks one."""

    def read(self) -> dict[str, Any]:
        """Return the settings, defaults included."""
        allowed = ROPE_KINDS[self.kind]
        values: dict[str, Any] = {}
        for name, default in sorted(allowed.items()):
            if name in _LISTS:
                values[name] = self._factors(name)
            elif name == "truncate":
                values |= {} if self.rope.flag(name, True) else {name: False}
            elif name not in (_ORIGINAL, "factor"):
                values |= self._number(name, default)
        if self.kind == "dynamic" or _ORIGINAL in allowed:
            values[_ORIGINAL] = self._original_context()
        values["factor"] = self._factor(values.get(_ORIGINAL))
        self._check(values)
        for name in sorted(set(self.rope.data) - set(allowed) - _COMMON):
            self.rope.wrong(f"{name_text(name)} is not supported with this rope_type")
        return values

    def _check(self, values: Mapping[str, Any]) -> None:
        """Report settings that divide by zero together."""
        if self.kind == "dynamic" and self.rotated < 4:
            self.rope.wrong("rope_type dynamic must rotate at least 4 channels of a head")
        if self.kind == "yarn" and self.theta <= 1:
            self.rope.wrong(f"rope_theta must be above 1 with rope_type yarn, not {self.theta:g}")
        if self.kind == "llama3" and values["high_freq_factor"] <= values["low_freq_factor"]:
            low, high = values["low_freq_factor"], values["high_freq_factor"]
            self.rope.wrong(f"high_freq_factor {high:g} must be above low_freq_factor {low:g}")

    def _number(self, name: str, default: float | None) -> dict[str, float]:
        if self.rope.data.get(name) is not None:
            # A factor of 0 would erase every query and key.
            smallest = _SMALLEST if name == "attention_factor" else 0.0
            return {name: self.rope.number(name, None, smallest, _LARGEST)}
        return {} if default is None else {name: default}

    def _factor(self, original: int | None) -> float:
        """Return the factor, which yarn and longrope derive from the two contexts by default."""
        context = self.config.data.get("max_position_embeddings")
        given = self.rope.data.get(_ORIGINAL) or self.config.data.get(_ORIGINAL)
        derived = self.kind == "longrope" or (self.kind == "yarn" and given)
        if derived and original and type(context) is int:
            return self.rope.number("factor", context / original, _SMALLEST, _LARGEST)
        return self.rope.number("factor", None, 1.0, _LARGEST)

    def _original_context(self) -> int:
        """Return the context of the pretraining; a key next to the block outranks that inside."""
        if self.kind == "dynamic":
            return self.config.size("max_position_embeddings")
        # The magnitude of longrope is divided by the logarithm of this context.
        smallest = 2 if self.kind == "longrope" else 1
        if self.original is not None or self.config.data.get(_ORIGINAL) is not None:
            return self.config.size(_ORIGINAL, self.original, smallest)
        context = self.config.data.get("max_position_embeddings")
        default = context if isinstance(context, int) else None
        return self.rope.size(_ORIGINAL, default, smallest)

    def _factors(self, name: str) -> tuple[float, ...]:
        factors, count = self.rope.data.get(name), self.rotated // 2
        valid = isinstance(factors, (list, tuple)) and len(factors) == count <= _MOST_FACTORS
        if not valid or any(not _is_factor(factor) for factor in factors or ()):
            text = shorten(factors)
            self.rope.wrong(f"{name} must be a list of {count} numbers above 0, not {text}")
            return (1.0,) * min(count, _MOST_FACTORS)
        return tuple(map(float, factors or ()))


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST
