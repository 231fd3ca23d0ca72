"""Free JSON of users inside a spec or a record: any shape, within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tailrace.formats.wording import describe, shorten

MAX_DEPTH = 32
"""Maximum depth of nested mappings and lists."""

MAX_VALUES = 10_000
"""Maximum number of values, nested ones included."""

MAX_TEXT = 20_000
"""Maximum length of a text, in characters."""

MAX_NUMBER = 2**53
"""Largest whole number: numbers travel as doubles, which cannot hold larger ones exactly."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of free JSON in addition to its depth."""

    values: int
    """Maximum number of values, nested ones included."""
    text: int
    """Maximum length of a text, in characters."""
    number: int
    """Largest whole number."""


SPEC = Bounds(MAX_VALUES, MAX_TEXT, MAX_NUMBER)
"""Bounds of JSON that travels as messages."""

VERBATIM = Bounds(100_000, 1_000_000, 10**40)
"""Bounds of JSON that is only stored as text: metadata, tools and their arguments in records."""


def json_problems(
    data: Mapping[object, object], path: str, bounds: Bounds = SPEC
) -> Iterator[tuple[str, str]]:
    """Yield the path and the problem of each value that is not allowed."""
    count = 0
    todo: list[tuple[object, str, int]] = [(data, path, 1)]
    while todo:
        value, where, depth = todo.pop()
        count += 1
        if count > bounds.values:
            yield path, f"has more than {bounds.values:,} values"
            return
        if depth > MAX_DEPTH:
            yield where, f"is nested more than {MAX_DEPTH} levels deep"
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                problem = _problem(name, bounds) if isinstance(name, str) else "a key must be text"
                if problem:
                    yield f"{where}.{describe(name)}", problem
                todo.append((inner, f"{where}.{shorten(str(name))}", depth + 1))
        elif isinstance(value, (list, tuple)):
            todo += [(inner, f"{where}[{i}]", depth + 1) for i, inner in enumerate(value)]
        elif problem := _problem(value, bounds):
            yield where, problem


def json_value(data: object, *, is_verbatim: bool = False) -> object:
    """Return JSON as plain data, with whole numbers as integers, as after a trip over the wire.

    Numbers stay as they are if ``is_verbatim``.
    """
    if isinstance(data, Mapping):
        return {
            str(name): json_value(value, is_verbatim=is_verbatim) for name, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [json_value(value, is_verbatim=is_verbatim) for value in data]
    if not is_verbatim and isinstance(data, float) and data.is_integer():
        return int(data)
    return data


def is_encodable(text: str) -> bool:
    """Return True if UTF-8 can encode a text; half of a surrogate pair has no encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(value: object, bounds: Bounds) -> str:
    """Return the problem with a single value; empty if none."""
    if isinstance(value, str):
        if len(value) > bounds.text:
            return f"has {len(value)} characters, at most {bounds.text} allowed"
        if "\0" in value or not is_encodable(value):
            return "contains a character that cannot be stored"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            return "must be a finite number"
        if abs(value) > bounds.number:
            return "is a number too large to be exact"
    elif value is not None and not isinstance(value, bool):
        return f"must be JSON, not {describe(value)}"
    return ""
