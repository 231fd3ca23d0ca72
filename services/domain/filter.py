"""The filter of ListRuns: a subset of AIP-160, comparisons joined by AND."""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.domain.errors import InvalidInput
from services.domain.run import RunState, is_run_uid
from tailrace.formats.limits import MAX_CONDITIONS

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
"""Comparison operators as functions of a column and a value."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<operator>>=|<=|!=|=|>|<|:)"
    r"|(?P<paren>[()])"
    r"|(?P<word>[^\s=<>!:()\"']+))"
)
_LABEL = re.compile(r"labels\.([a-z][a-z0-9_.-]{0,62})")


@dataclass(frozen=True)
class StateIs:
    """Condition ``state = RUNNING``."""

    state: RunState
    """Required state."""


@dataclass(frozen=True)
class UidIs:
    """Condition ``uid = "0f1e…"``."""

    uid: str
    """Required uid."""


@dataclass(frozen=True)
class CreatedAt:
    """Condition ``create_time >= "2026-01-01T00:00:00Z"``."""

    operator: str
    """A key of :data:`OPERATORS`."""
    time: datetime
    """Time to compare with."""


@dataclass(frozen=True)
class LabelIs:
    """Condition ``labels.k = "v"``."""

    name: str
    """Name of the label."""
    value: str
    """Required value."""


Condition = StateIs | UidIs | CreatedAt | LabelIs


def parse_filter(text: str) -> list[Condition]:
    """Return the conditions of a filter, all of which must hold.

    Raises:
        InvalidInput: The filter is malformed; the message names the place and the valid forms.
    """
    if "\0" in text:
        raise _wrong(text.index("\0"), "contains a NUL character")
    tokens = deque(_tokens(text))
    conditions: list[Condition] = []
    while tokens:
        if len(conditions) == MAX_CONDITIONS:
            raise _wrong(tokens[0][2], f"has more than {MAX_CONDITIONS} comparisons")
        if conditions:
            _kind, joiner, at = tokens.popleft()
            if joiner != "AND":
                raise _wrong(at, f"expected AND, not {joiner!r}; OR, NOT and () are not supported")
        if len(tokens) < 3:
            raise _wrong(len(text), "ends in the middle of a comparison such as state = RUNNING")
        kind, field, at = tokens.popleft()
        operator_kind, sign, sign_at = tokens.popleft()
        value_kind, raw, value_at = tokens.popleft()
        if kind != "word":
            raise _wrong(at, f"expected a field, not {field!r}")
        if operator_kind != "operator":
            raise _wrong(sign_at, f"expected = after {field}, not {sign!r}")
        if value_kind not in ("word", "text"):
            raise _wrong(value_at, f"expected a value, not {raw!r}")
        value = re.sub(r"\\(.)", r"\1", raw[1:-1]) if value_kind == "text" else raw
        conditions.append(_condition(field, sign, value, at))
    return conditions


def _condition(field: str, sign: str, value: str, at: int) -> Condition:
    label = _LABEL.fullmatch(field)
    if field == "create_time":
        if sign not in OPERATORS:
            raise _wrong(at, f"create_time takes {' '.join(OPERATORS)}, not {sign}")
        return CreatedAt(sign, _time(value, at))
    if field not in ("state", "uid") and label is None:
        raise _wrong(
            at, f"unknown field {field!r}; there is state, uid, create_time and labels.NAME"
        )
    if sign != "=":
        raise _wrong(at, f"{field} takes = only, not {sign}")
    if label is not None:
        return LabelIs(label[1], value)
    if field == "uid":
        return UidIs(_uid(value, at))
    if value not in RunState.__members__:
        raise _wrong(at, f"state must be one of {', '.join(RunState)}, not {value!r}")
    return StateIs(RunState(value))


def _uid(value: str, at: int) -> str:
    if not is_run_uid(value):
        raise _wrong(at, f"uid must be 32 digits 0-9 or a-f, not {value[:80]!r}")
    return value


def _time(value: str, at: int) -> datetime:
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(at, f'{value!r} is not a time such as "2026-01-01T00:00:00Z"') from None


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Return the kind, text and offset of each token."""
    tokens: list[tuple[str, str, int]] = []
    end = len(text.rstrip())
    position = 0
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _wrong(position, f"cannot be read from {text[position : position + 20]!r} on")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind], match.start(kind)))
        position = match.end()
    return tokens


def _wrong(at: int, description: str) -> InvalidInput:
    return InvalidInput.field("filter", f"at character {at + 1}: {description}")
