"""Filters: comparisons joined by AND, a subset of AIP-160."""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
"""Comparison operators as functions of two values."""

_MOST_SHOWN = 80

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<operator>>=|<=|!=|=|>|<|:)"
    r"|(?P<paren>[()])"
    r"|(?P<word>[^\s=<>!:()\"']+))"
)


class FilterError(ValueError):
    """A filter that cannot be read; the message has the place."""

    def __init__(self, at: int, description: str) -> None:
        super().__init__(f"at character {at + 1}: {description}")


@dataclass(frozen=True)
class Comparison:
    """One comparison of a filter: ``state = RUNNING``."""

    field: str
    """Name of the field."""
    sign: str
    """Operator, not always one of :data:`OPERATORS`."""
    value: str
    """Value, without quotes."""
    at: int
    """Offset of the field in the filter."""


def comparisons(text: str, example: str, maximum: int) -> Iterator[Comparison]:
    """Yield the comparisons of a filter.

    Args:
        text: The filter.
        example: Comparison that an error shows.
        maximum: Maximum number of comparisons.

    Raises:
        FilterError: The filter is malformed.
    """
    if "\0" in text:
        raise FilterError(text.index("\0"), "contains a NUL character")
    tokens = deque(_tokens(text))
    count = 0
    while tokens:
        if count == maximum:
            raise FilterError(tokens[0][2], f"has more than {maximum} comparisons")
        if count:
            _kind, joiner, at = tokens.popleft()
            if joiner != "AND":
                problem = f"expected AND, not {_shown(joiner)}; OR, NOT and () are not supported"
                raise FilterError(at, problem)
        if len(tokens) < 3:
            raise FilterError(len(text), f"ends in the middle of a comparison such as {example}")
        yield _comparison(tokens)
        count += 1


def _comparison(tokens: deque[tuple[str, str, int]]) -> Comparison:
    kind, field, at = tokens.popleft()
    operator_kind, sign, sign_at = tokens.popleft()
    value_kind, raw, value_at = tokens.popleft()
    if kind != "word":
        raise FilterError(at, f"expected a field, not {_shown(field)}")
    if operator_kind != "operator":
        raise FilterError(sign_at, f"expected = after {field[:_MOST_SHOWN]}, not {_shown(sign)}")
    if value_kind not in ("word", "text"):
        raise FilterError(value_at, f"expected a value, not {_shown(raw)}")
    value = re.sub(r"\\(.)", r"\1", raw[1:-1]) if value_kind == "text" else raw
    return Comparison(field, sign, value, at)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Return the kind, text and offset of each token."""
    tokens: list[tuple[str, str, int]] = []
    end = len(text.rstrip())
    position = 0
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise FilterError(
                position, f"cannot be read from {text[position : position + 20]!r} on"
            )
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind], match.start(kind)))
        position = match.end()
    return tokens


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…")
