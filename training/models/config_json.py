"""Reading Hugging Face's ``config.json``: every wrong key is reported at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from training.errors import ModelConfigError


class ConfigReader:
    """Takes values out of a parsed ``config.json`` and collects what is wrong with them.

    A null counts as absent, as in transformers. After a wrong value a harmless one is returned, so
    that reading goes on; :meth:`finish` raises.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.problems: list[str] = []
        """What was found wrong so far."""

    def wrong(self, message: str) -> None:
        """Report a problem; the message names its key."""
        self.problems.append(message)

    def size(self, name: str, default: int | None = None, minimum: int = 1) -> int:
        """A whole number of at least ``minimum``; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            self.wrong(f"{name} must be a whole number of at least {minimum}, not {value!r}")
            return minimum
        return value

    def number(
        self,
        name: str,
        default: float | None,
        minimum: float = 0.0,
        maximum: float = sys.float_info.max,
    ) -> float:
        """A number within its bounds; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        known = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if known and value is not None else math.nan
        if not minimum <= number <= maximum:
            self.wrong(f"{name} must be a number from {minimum:g} to {maximum:g}, not {value!r}")
            return minimum
        return number

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.wrong(f"{name} must be true or false, not {value!r}")
            return default
        return value

    def choice(self, name: str, default: str, known: Iterable[str]) -> str:
        """One of the known words."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, str) or value not in known:
            self.wrong(f"{name} must be one of {', '.join(known)}, not {value!r}")
            return default
        return value

    def token(self, name: str) -> int | None:
        """A token id, the first of a list, or nothing."""
        value = self.data.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.wrong(f"{name} must be a token id, not {value!r}")
        return None

    def fixed(self, values: Mapping[str, Any]) -> None:
        """Refuse every key that is there with a value other than the one supported."""
        for name, value in values.items():
            if self.data.get(name, value) != value:
                self.wrong(f"{name} must be {value!r}, not {self.data[name]!r}")

    def finish(self) -> None:
        """Raise :class:`training.errors.ModelConfigError` naming every problem, if any."""
        if self.problems:
            raise ModelConfigError("config.json: " + "; ".join(self.problems))
