"""The filter of ListRuns: a subset of AIP-160, comparisons joined by AND."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from services.domain.errors import InvalidInput
from services.domain.run import RunState, is_run_uid
from tailrace.formats.comparisons import OPERATORS, Comparison, FilterError, comparisons
from tailrace.formats.limits import MAX_CONDITIONS

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
    """A key of :data:`tailrace.formats.comparisons.OPERATORS`."""
    time: datetime
    """Time to compare with."""


@dataclass(frozen=True)
class LabelIs:
    """Condition ``labels.k = "v"``."""

    name: str
    """Name of the label."""
    value: str
    """Required value."""


@dataclass(frozen=True)
class OriginIs:
    """Condition ``dataset = "golden-v2"`` or ``model = "gpt2-nano"``."""

    field: str
    """``dataset`` or ``model``."""
    value: str
    """Required value, without a version."""


@dataclass(frozen=True)
class ScoredOn:
    """Condition ``eval_set = "eval_v2@1"`` or ``judge = "contains"``: the run has such a score."""

    field: str
    """``eval_set`` or ``judge``."""
    value: str
    """Required value."""


Condition = StateIs | UidIs | CreatedAt | LabelIs | OriginIs | ScoredOn

_FIELDS = "state, uid, create_time, dataset, model, eval_set, judge and labels.NAME"


def parse_filter(text: str) -> list[Condition]:
    """Return the conditions of a filter, all of which must hold.

    Raises:
        InvalidInput: The filter is malformed; the message names the place and the valid forms.
    """
    try:
        parts = comparisons(text, "state = RUNNING", MAX_CONDITIONS)
        return [_condition(comparison) for comparison in parts]
    except FilterError as error:
        raise InvalidInput.field("filter", str(error)) from error


def _condition(comparison: Comparison) -> Condition:
    field, sign = comparison.field, comparison.sign
    value, at = comparison.value, comparison.at
    label = _LABEL.fullmatch(field)
    if field == "create_time":
        if sign not in OPERATORS:
            raise FilterError(at, f"create_time takes {' '.join(OPERATORS)}, not {sign}")
        return CreatedAt(sign, filter_time(value, at))
    if field not in _EQUALS_ONLY and label is None:
        raise FilterError(at, f"unknown field {field!r}; there is {_FIELDS}")
    if sign != "=":
        raise FilterError(at, f"{field} takes = only, not {sign}")
    if label is not None:
        return LabelIs(label[1], value)
    if field in ("dataset", "model"):
        return OriginIs(field, _without_version(field, value, at))
    if field in ("eval_set", "judge"):
        return ScoredOn(field, value)
    if field == "uid":
        return UidIs(_uid(value, at))
    if value not in RunState.__members__:
        raise FilterError(at, f"state must be one of {', '.join(RunState)}, not {value!r}")
    return StateIs(RunState(value))


_EQUALS_ONLY = ("state", "uid", "dataset", "model", "eval_set", "judge")


def _without_version(field: str, value: str, at: int) -> str:
    if "@" in value:
        raise FilterError(at, f"{field} takes a name without a version, not {value[:80]!r}")
    return value


def _uid(value: str, at: int) -> str:
    if not is_run_uid(value):
        raise FilterError(at, f"uid must be 32 digits 0-9 or a-f, not {value[:80]!r}")
    return value


def filter_time(value: str, at: int) -> datetime:
    """Return the time of a comparison at ``at``; raise ``FilterError`` for another text."""
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise FilterError(at, f'{value!r} is not a time such as "2026-01-01T00:00:00Z"') from None
