"""Shortening of stored messages that exceed the message limit of clients."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tailrace.protomap import is_map, is_repeated

M = TypeVar("M", bound=Message)

MOST_BYTES = 3_500_000
"""Maximum size of a message: gRPC clients accept 4 MiB by default."""

_STEPS = ((16_384, 1000), (1024, 100), (128, 10), (16, 2))
"""Steps of shortening: characters per text and entries per list or mapping."""

_CUT = "…"
"""End of a shortened text."""


def shorten(message: M, most: int = MOST_BYTES) -> M:
    """Return the message, its texts and lists shortened as far as its size requires.

    Requests of that size are refused today, but an earlier release stored them.
    """
    for characters, entries in _STEPS:
        if message.ByteSize() <= most:
            break
        _shorten_fields(message, characters, entries)
    return message


def _shorten_fields(message: Any, characters: int, entries: int) -> None:
    for field, value in message.ListFields():
        if is_map(field):
            _shorten_map(field, value, characters, entries)
        elif is_repeated(field):
            del value[entries:]
            for position, entry in enumerate(value):
                if field.message_type is not None:
                    _shorten_fields(entry, characters, entries)
                elif field.type == FieldDescriptor.TYPE_STRING:
                    value[position] = _cut(entry, characters)
        elif field.message_type is not None:
            _shorten_fields(value, characters, entries)
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, _cut(value, characters))


def _shorten_map(field: Any, values: Any, characters: int, entries: int) -> None:
    for key in list(values)[entries:]:
        del values[key]
    of_messages = field.message_type.fields_by_name["value"].message_type is not None
    for key in list(values):
        if of_messages:
            _shorten_fields(values[key], characters, entries)
        elif isinstance(values[key], str):
            values[key] = _cut(values[key], characters)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + _CUT
