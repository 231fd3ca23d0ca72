"""Values of fields: plain data, text, times, durations and enums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.domain.errors import InvalidInput
from tailrace.formats.schema import MAX_REPORTED, Violation
from tailrace.protomap import enum_number, enum_word, to_mapping

# The stubs describe each enum as a class, not as the wrapper that it is.
EnumType = Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Seconds from 1970 to the limits of the years 1 to 9999."""


def plain(message: Message, field: str) -> dict[str, Any]:
    """Return a message as storable plain data, see :func:`tailrace.protomap.to_mapping`.

    NUL, which PostgreSQL refuses, becomes U+FFFD.

    Raises:
        InvalidInput: A number is not finite, or a time or duration is out of range; names fields
            below ``field``.
    """
    try:
        mapping = to_mapping(message)
    except (OverflowError, ValueError) as error:
        raise InvalidInput.field(field, f"holds a time or duration out of range: {error}") from None
    infinite: list[Violation] = []
    cleaned: dict[str, Any] = _clean(mapping, [field], infinite)
    if infinite:
        raise InvalidInput(infinite)
    return cleaned


def text(value: str) -> str:
    """Return a text with NUL replaced."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def time(message: Timestamp, field: str) -> datetime:
    """Return a time; raise ``InvalidInput`` at ``field`` outside the years 1 to 9999."""
    try:
        return message.ToDatetime(UTC)
    except (OverflowError, ValueError):
        raise out_of_range(field) from None


def micros(message: Timestamp) -> int | None:
    """Return microseconds since 1970, at a tenth of the cost of :func:`time`.

    ``None`` means out of range.
    """
    seconds, nanos = message.seconds, message.nanos
    if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= nanos < 1_000_000_000):
        return None
    return seconds * 1_000_000 + nanos // 1000


def all_micros(messages: Sequence[Timestamp]) -> list[int] | None:
    """Return :func:`micros` of many times, column by column; ``None`` if one is out of range."""
    if not messages:
        return []
    seconds = [message.seconds for message in messages]
    nanos = [message.nanos for message in messages]
    if min(seconds) < _FIRST_SECOND or max(seconds) > _LAST_SECOND:
        return None
    if min(nanos) < 0 or max(nanos) >= 1_000_000_000:
        return None
    return [s * 1_000_000 + n // 1000 for s, n in zip(seconds, nanos, strict=True)]


def out_of_range(field: str) -> InvalidInput:
    """Return the error for a time out of range."""
    return InvalidInput.field(field, "is outside the years 1 to 9999")


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return the message of a time, if there is one."""
    if moment is None:
        return None
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    # Takes a third of the time of FromDatetime; a page of runs has hundreds of times.
    return Timestamp(seconds=seconds, nanos=since.microseconds * 1000)


def duration(seconds: float) -> Duration:
    """Return the message of a duration."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


@cache
def enum_to_proto(enum_type: EnumType, member: str) -> Any:
    """Return the number of a domain enum's member, which has the same name in ``enum_type``."""
    return enum_number(enum_type.DESCRIPTOR, member)


@cache
def enum_name(enum_type: EnumType, member: str) -> str:
    """Return the full name of a domain enum's member in ``enum_type``."""
    return str(enum_type.Name(enum_to_proto(enum_type, member)))


def enum_from_proto(enum_type: EnumType, number: int) -> str:
    """Return the lower-case word of a number; an unknown number as text."""
    return enum_word(enum_type.DESCRIPTOR, number)


def _clean(data: Any, path: list[str], infinite: list[Violation]) -> Any:
    """Return data with NUL replaced; ``path`` is its place, for violations."""
    if isinstance(data, str):
        return text(data)
    if isinstance(data, float) and not math.isfinite(data):
        if len(infinite) <= MAX_REPORTED:
            infinite.append(Violation("".join(path), f"must be a finite number, not {data}"))
    elif isinstance(data, dict):
        cleaned = {}
        for name, value in data.items():
            path.append(f".{name}")
            cleaned[text(name)] = _clean(value, path, infinite)
            path.pop()
        return cleaned
    elif isinstance(data, list):
        if all(map(_is_sound_number, data)):
            return data
        return _clean_list(data, path, infinite)
    return data


def _clean_list(data: list[Any], path: list[str], infinite: list[Violation]) -> list[Any]:
    cleaned = []
    for position, value in enumerate(data):
        path.append(f"[{position}]")
        cleaned.append(_clean(value, path, infinite))
        path.pop()
    return cleaned


def _is_sound_number(value: Any) -> bool:
    kind = type(value)
    return kind is int or (kind is float and math.isfinite(value))
