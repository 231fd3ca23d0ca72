"""Checks of single values of a schema: text, numbers, durations, free mappings.

Each function returns the value that a field holds, and appends its violations to ``out``.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.json_value import (
    SPEC,
    VERBATIM,
    is_encodable,
    json_problems,
    json_value,
)
from tailrace.formats.wording import describe, digits, quote_hint, shorten

_SWITCHES = {"on": True, "yes": True, "off": False, "no": False}
"""Words for true and false in boolean fields; in text they stay words: a label may be `no`."""

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class Violation:
    """Wrong field: its dotted path (``train.epochs``) and a predicate that describes the error."""

    field: str
    description: str


@dataclass(frozen=True)
class Rule:
    """Constraints of one key in addition to its Python type."""

    doc: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    max_length: int | None = None
    item_length: int | None = None
    """Maximum length of texts in a list or in the values of a mapping, in characters."""
    pattern: str | None = None
    form: str = ""
    """``pattern`` in words: ``name or name@version``."""
    duration: bool = False
    verbatim: bool = False
    """True for free JSON that is only stored as text, within :data:`json_value.VERBATIM`: a number
    with a fraction of zero keeps it."""
    shown_first: bool = False
    """True for a key that a form shows to everyone; others are one step away."""


def read_labels(rule: Rule, data: object, path: str, out: list[Violation]) -> Any:
    """Return a mapping of short names to text."""
    if not isinstance(data, Mapping):
        out.append(Violation(path, f"must be a mapping of text to text, not {describe(data)}"))
        return None
    if rule.max_length is not None and len(data) > rule.max_length:
        out.append(Violation(path, f"has {len(data)} entries, at most {rule.max_length} allowed"))
        return None
    for name, value in data.items():
        key_path = join(path, str(name))
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_.-]{0,62}", name):
            out.append(
                Violation(key_path, "names are 1-63 of a-z, 0-9, '_', '.', '-', letter first")
            )
        if not isinstance(value, str):
            out.append(
                Violation(key_path, f"must be text, not {describe(value)}{quote_hint(value)}")
            )
        elif len(value) > (rule.item_length or 256) or "\0" in value:
            most = rule.item_length or 256
            out.append(Violation(key_path, f"values are text of at most {most} characters"))
    return dict(data)


def read_json(rule: Rule, data: object, path: str, out: list[Violation]) -> Any:
    """Return a mapping with free JSON values."""
    if not isinstance(data, Mapping):
        out.append(Violation(path, f"must be a mapping, not {describe(data)}"))
        return None
    if not data and rule.minimum:
        out.append(Violation(path, "must not be empty"))
    if rule.max_length is not None and len(data) > rule.max_length:
        out.append(Violation(path, f"has {len(data)} entries, at most {rule.max_length} allowed"))
        return None
    problems = list(json_problems(data, path, VERBATIM if rule.verbatim else SPEC))
    out += [Violation(key_path, problem) for key_path, problem in problems]
    return None if problems else json_value(data, is_verbatim=rule.verbatim)


def read_metadata(rule: Rule, data: object, path: str, out: list[Violation]) -> Any:
    """Return a mapping of free names to scalar values."""
    if not isinstance(data, Mapping):
        out.append(Violation(path, f"must be a mapping, not {describe(data)}"))
        return None
    if rule.max_length is not None and len(data) > rule.max_length:
        out.append(Violation(path, f"has {len(data)} entries, at most {rule.max_length} allowed"))
        return None
    text = Rule("", max_length=2000)
    for name, value in data.items():
        key_path = join(path, str(name))
        if not isinstance(value, (str, int, float, bool)):
            out.append(
                Violation(key_path, f"must be text, a number, true or false, not {describe(value)}")
            )
        elif isinstance(value, str):
            _text(text, value, key_path, out)
        elif isinstance(value, float):
            in_range(text, value, key_path, out)
        _text(text, str(name), f"{key_path} (the name)", out)
    return dict(data)


def read_scalar(hint: Any, rule: Rule, data: object, path: str, out: list[Violation]) -> Any:
    """Return text, a number, true or false."""
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        data = _as_float(data)
    if hint is float and isinstance(data, str):
        # YAML 1.1 reads 2e-5 as text (its floats need a dot), but users mean the number.
        with contextlib.suppress(ValueError):
            data = float(data)
    if hint is bool and isinstance(data, str):
        data = _SWITCHES.get(data.lower(), data)
    if not isinstance(data, hint) or (hint is not bool and isinstance(data, bool)):
        type_names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        quoting = quote_hint(data) if hint is str else ""
        out.append(Violation(path, f"must be {type_names[hint]}, not {describe(data)}{quoting}"))
        return None
    if isinstance(data, str):
        return _text(rule, data, path, out)
    return data if isinstance(data, bool) else in_range(rule, data, path, out)


def _text(rule: Rule, data: str, path: str, out: list[Violation]) -> str:
    if "\0" in data:
        out.append(Violation(path, "contains a NUL character"))
    elif not is_encodable(data):
        out.append(Violation(path, "contains half of a surrogate pair, which UTF-8 cannot hold"))
    elif not data and rule.minimum:
        out.append(Violation(path, "must not be empty"))
    elif rule.max_length is not None and len(data) > rule.max_length:
        out.append(
            Violation(path, f"has {len(data)} characters, at most {rule.max_length} allowed")
        )
    elif rule.pattern is not None and not re.fullmatch(rule.pattern, data):
        form = f"is not {rule.form}" if rule.form else f"does not fit the form {rule.pattern}"
        out.append(Violation(path, f"{describe(data)} {form}"))
    return data


def in_range(rule: Rule, data: Any, path: str, out: list[Violation]) -> Any:
    """Return a number, and check its bounds."""
    if data is None:
        return None
    if isinstance(data, float) and not math.isfinite(data):
        out.append(Violation(path, f"must be a finite number, not {data}"))
    elif rule.above is not None and data <= rule.above:
        out.append(Violation(path, f"must be above {digits(rule.above)}, not {digits(data)}"))
    elif rule.minimum is not None and data < rule.minimum:
        out.append(Violation(path, f"must be at least {digits(rule.minimum)}, not {digits(data)}"))
    elif rule.maximum is not None and data > rule.maximum:
        out.append(Violation(path, f"must be at most {digits(rule.maximum)}, not {digits(data)}"))
    return data


def read_duration(data: object, path: str, out: list[Violation]) -> float | None:
    """Return the seconds of a number, or of text such as ``1h30m``."""
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return _as_float(data)
    match = _DURATION.fullmatch(data) if isinstance(data, str) and data else None
    if match is None:
        out.append(
            Violation(path, f"must be seconds or text such as '1h30m', not {describe(data)}")
        )
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def join(path: str, name: str) -> str:
    """Return a key's dotted path; a long name, certainly a mistake, is shortened."""
    name = shorten(name)
    return f"{path}.{name}" if path else name


def _as_float(number: float) -> float:
    """Return a number as a float; too large a number becomes infinite, which is refused."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
