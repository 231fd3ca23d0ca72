"""Reader of values in a config.json: typed, bounded, with every wrong key collected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

MAX_SIZE = 2**31 - 1
"""Largest size of any dimension of a model."""

MAX_LAYERS = 10_000
"""Largest number of layers."""

MAX_NUMBER = 3.4028234e38
"""Largest number, below the largest float32, in which models are computed."""

ACTIVATIONS = (
    *("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "quick_gelu"),
    *("relu", "silu", "swish"),
)
"""Activations of the feed-forward layer, by their Hugging Face names."""


class ConfigReader:
    """Typed access to a parsed ``config.json`` that collects problems instead of raising.

    A null counts as absent; a family for which transformers differs looks at ``data``. After a
    wrong value a harmless one is returned, so that reading continues.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.problems: list[str] = []
        """Problems so far, one sentence each."""

    def wrong(self, message: str) -> None:
        """Record a problem; the message names its key."""
        self.problems.append(message)

    def size(
        self, name: str, default: int | None = None, minimum: int = 1, maximum: int = MAX_SIZE
    ) -> int:
        """Return a whole number within its bounds; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        if value is None:
            self.wrong(f"{name} is missing")
            return minimum
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            self.wrong(f"{name} must be a whole number of at least {minimum}, not {shorten(value)}")
            return minimum
        if value > maximum:
            self.wrong(f"{name} must be at most {maximum}, not {shorten(value)}")
            return minimum
        return value

    def number(
        self,
        name: str,
        default: float | None,
        minimum: float = 0.0,
        maximum: float = MAX_NUMBER,
    ) -> float:
        """Return a number within its bounds; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or value is None or not minimum <= value <= maximum:
            bounds = f"from {minimum:g} to {maximum:g}"
            self.wrong(f"{name} must be a number {bounds}, not {shorten(value)}")
            return minimum
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.wrong(f"{name} must be true or false, not {shorten(value)}")
            return default
        return value

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """Return one of the choices."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, str) or value not in choices:
            self.wrong(f"{name} must be one of {', '.join(choices)}, not {shorten(value)}")
            return default
        return value

    def token(self, name: str) -> int | None:
        """Return a token id, the first of a list, or nothing."""
        value = self.data.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.wrong(f"{name} must be a token id, not {shorten(value)}")
        return None

    def fixed(self, values: Mapping[str, Any]) -> None:
        """Refuse keys whose value differs from the only supported one."""
        for name, value in values.items():
            if self.data.get(name, value) != value:
                self.wrong(f"{name} must be {value!r}, not {shorten(self.data[name])}")


def shorten(value: object) -> str:
    """Return a wrong value as text, cut where it is long."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number above 10^30" if value > 0 else "a number below -10^30"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
