"""Conversion between protobuf messages and plain mappings, as in YAML files and ``--json``.

It differs from protobuf's own JSON mapping where users would stumble: field names stay in
snake_case, enum values are short lower-case words (``cosine`` for ``SCHEDULE_COSINE``), 64-bit
integers are numbers, durations are seconds. Timestamps are RFC 3339 text in UTC. Free JSON of users
(``Struct``, ``Value``) stays unchanged, with whole numbers as integers.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.message import Message

from tailrace.formats.json_value import json_value
from tailrace.formats.schema import parse
from tailrace.formats.schema import to_mapping as schema_to_mapping
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.v1 import run_spec_pb2

M = TypeVar("M", bound=Message)

# The stubs know two classes of descriptors and neither's newer attributes.
Field = Any
EnumDescriptor = Any


def to_mapping(message: Message, *, defaults: bool = False) -> dict[str, Any]:
    """Return the plain data of a message.

    Fields that are not set are left out. With ``defaults``, scalars and lists without presence have
    their zero value, as programs that read ``--json`` expect.
    """
    mapping: dict[str, Any] = {}
    for field, form in _forms(message.DESCRIPTOR).values():
        value = getattr(message, field.name)
        if form is _Form.MAP:
            if value or defaults:
                mapping[field.name] = dict(value)
        elif form is _Form.REPEATED:
            if len(value) or defaults:
                mapping[field.name] = (
                    list(value)
                    if _is_plain(field)
                    else [_plain(field, entry, defaults) for entry in value]
                )
        elif field.has_presence:
            if message.HasField(field.name):
                mapping[field.name] = _plain(field, value, defaults)
        elif value != field.default_value or (defaults and field.enum_type is None):
            mapping[field.name] = _plain(field, value, defaults)
    return mapping


def from_mapping(message_type: type[M], data: Mapping[str, Any]) -> M:
    """Return the message of plain data, the inverse of :func:`to_mapping`.

    :mod:`tailrace.formats.schema` checks the input of users before.

    Raises:
        ValueError: A field or an enum value is unknown.
        TypeError: A value has the wrong type.
    """
    message = message_type()
    _fill(message, data)
    return message


def from_stored(message_type: type[M], data: Mapping[str, Any]) -> M:
    """Return the message of plain data that another release may have stored.

    Fields and enum values that this release does not know are left unset: stored data must stay
    readable.
    """
    message = message_type()
    _fill(message, data, lenient=True)
    return message


def spec_from_proto(message: run_spec_pb2.RunSpec) -> RunSpec:
    """Return the validated run spec of a message.

    Raises:
        SpecError: Every wrong field.
    """
    return parse(RunSpec, to_mapping(message))


def spec_to_proto(spec: RunSpec) -> run_spec_pb2.RunSpec:
    """Return the message of a run spec, with every default written out."""
    return from_mapping(run_spec_pb2.RunSpec, schema_to_mapping(spec))


def enum_word(of: EnumDescriptor, number: int) -> str:
    """Return the short word of an enum value, or the number of an unknown one."""
    value = of.values_by_number.get(number)
    if value is None:
        return str(number)
    name: str = value.name
    return name.removeprefix(_prefix(of.name)).lower()


def enum_number(of: EnumDescriptor, word: str) -> int:
    """Return the number of an enum value, the inverse of :func:`enum_word`.

    Raises:
        ValueError: The word is unknown; the message lists the known ones.
    """
    value = of.values_by_name.get(enum_value_name(of.name, word))
    if value is None:
        words = ", ".join(enum_word(of, v.number) for v in of.values if v.number)
        raise ValueError(f"{word!r} is not one of {words}")
    return int(value.number)


def enum_value_name(enum_name: str, word: str) -> str:
    """Return the full name of an enum value: ``DTYPE_AUTO`` for ``Dtype`` and ``auto``."""
    return _prefix(enum_name) + word.upper()


def timestamp_text(value: timestamp_pb2.Timestamp) -> str:
    """Return RFC 3339 text in UTC with microseconds."""
    return value.ToDatetime(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(field: Field, value: Any, defaults: bool) -> Any:
    if isinstance(value, timestamp_pb2.Timestamp):
        return timestamp_text(value)
    if isinstance(value, duration_pb2.Duration):
        return value.ToTimedelta().total_seconds()
    if isinstance(value, (struct_pb2.Struct, struct_pb2.Value)):
        return json_value(json_format.MessageToDict(value))
    if field.message_type is not None:
        return to_mapping(value, defaults=defaults)
    if field.enum_type is not None:
        return enum_word(field.enum_type, value)
    return value


def _fill(message: Any, data: Any, *, lenient: bool = False) -> None:
    """Set a message's fields in place, since copies of sub-messages would double the time."""
    if isinstance(message, _OWN_JSON):
        _fill_own(message, data)
        return
    forms = _forms(message.DESCRIPTOR)
    for name, value in data.items():
        field_form = forms.get(name)
        if field_form is None:
            if lenient:
                continue
            raise ValueError(f"{message.DESCRIPTOR.name} has no field {name!r}")
        try:
            _fill_field(message, *field_form, value, lenient)
        except (ValueError, TypeError, AttributeError, OverflowError):
            if not lenient:
                raise
            message.ClearField(name)


def _fill_field(message: Any, field: Field, form: _Form, value: Any, lenient: bool) -> None:
    name = field.name
    if form is _Form.SCALAR:
        setattr(message, name, _scalar(field, value))
        return
    target = getattr(message, name)
    if form is _Form.MAP:
        target.update(value)
    elif form is _Form.MESSAGE:
        # Filling alone would leave an empty sub-message unset.
        target.SetInParent()
        _fill(target, value, lenient=lenient)
    elif field.message_type is None:
        target.extend(value if _is_plain(field) else [_scalar(field, i) for i in value])
    else:
        for entry in value:
            _fill(target.add(), entry, lenient=lenient)


_OWN_JSON = (
    timestamp_pb2.Timestamp,
    duration_pb2.Duration,
    struct_pb2.Struct,
    struct_pb2.Value,
)
"""Messages with a special form in plain data."""


def _fill_own(message: Any, value: Any) -> None:
    if isinstance(message, timestamp_pb2.Timestamp):
        message.FromDatetime(datetime.fromisoformat(value))
    elif isinstance(message, duration_pb2.Duration):
        message.FromNanoseconds(round(value * 1e9))
    else:
        json_format.ParseDict(value, message)


def _is_plain(field: Field) -> bool:
    """Return True for numbers, flags and text, whose lists are copied at once."""
    return field.message_type is None and field.enum_type is None


def _scalar(field: Field, value: Any) -> Any:
    return value if field.enum_type is None else enum_number(field.enum_type, value)


class _Form(enum.Enum):
    """Form in which a field holds its value."""

    SCALAR = enum.auto()
    MESSAGE = enum.auto()
    REPEATED = enum.auto()
    MAP = enum.auto()


@cache
def _forms(descriptor: Any) -> Mapping[str, tuple[Field, _Form]]:
    """Return the fields of a message by name; looking them up for each value took half the time."""
    return {field.name: (field, _form(field)) for field in descriptor.fields}


def _form(field: Field) -> _Form:
    if is_map(field):
        return _Form.MAP
    if is_repeated(field):
        return _Form.REPEATED
    return _Form.SCALAR if field.message_type is None else _Form.MESSAGE


@lru_cache(maxsize=256)
def _prefix(enum_name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum_name).upper() + "_"


def is_map(field: Field) -> bool:
    """Return True if a field is a mapping."""
    of = field.message_type
    return of is not None and bool(of.GetOptions().map_entry)


def is_repeated(field: Field) -> bool:
    """Return True if a field is a list; on the wire a mapping is one, too."""
    # protobuf 6.31 deprecates label; 5.29 has no is_repeated.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)
