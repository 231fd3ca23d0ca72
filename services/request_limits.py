"""Limits of requests, checked before any other processing.

The size in bytes is checked first, then, from the outside in, the length of each list, mapping and
text. The bounds are those of :mod:`tailrace.formats.limits`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from services.domain.errors import InvalidInput, ResourceExhausted
from tailrace.formats.limits import (
    MAX_FIELDS,
    MAX_ITEMS,
    NEWER_ENUMS,
    UNCOUNTED_BYTES,
    Bound,
    bound_of,
    request_bytes,
)
from tailrace.formats.schema import MAX_REPORTED, Violation
from tailrace.protomap import enum_word, is_map, is_repeated

# The stubs lack the descriptors' newer attributes and upb's classes.
Descriptor = Any

_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
"""Wire types (protobuf encoding)."""


def parse_request(raw: bytes, descriptor: Descriptor, parse: Callable[[bytes], Message]) -> Message:
    """Return the message of a request whose size is within its method's limit.

    Raises:
        InvalidInput: The bytes are not such a message.
        ResourceExhausted: There are too many bytes or fields to parse.
    """
    most = request_bytes(descriptor.name)
    if len(raw) > most:
        raise ResourceExhausted(
            "MESSAGE_TOO_LARGE",
            f"the {descriptor.name} has {len(raw)} bytes, at most {most} are taken",
        )
    try:
        if len(raw) > UNCOUNTED_BYTES and _count_fields(raw, descriptor) > MAX_FIELDS:
            raise ResourceExhausted(
                "MESSAGE_TOO_LARGE",
                f"the {descriptor.name} has more than {MAX_FIELDS} fields, those inside of others "
                "included",
            )
        return parse(raw)
    except (DecodeError, IndexError):
        raise InvalidInput.field("(request)", "is not a message of this method's type") from None


def check_request(message: Message) -> None:
    """Check a request against the limits of its fields.

    Raises:
        InvalidInput: Names all violations that :func:`find_violations` returns.
    """
    if violations := find_violations(message):
        raise InvalidInput(violations)


def find_violations(message: Message, path: str = "") -> list[Violation]:
    """Return the violations in a request, or in its part at ``path``.

    Violations are texts that are too long or contain NUL, and unknown enum values. Enum values that
    a newer worker may report (:data:`NEWER_ENUMS`) are cleared.

    Raises:
        InvalidInput: A list or mapping has too many entries; the fields after it are unchecked.
    """
    return _Walk(path).over(message)


class _Form(enum.Enum):
    """Form of a field's value."""

    TEXT = enum.auto()
    ENUM = enum.auto()
    MESSAGE = enum.auto()
    LIST = enum.auto()
    MAP = enum.auto()


@dataclass(frozen=True)
class _Rule:
    """Rule for one field."""

    name: str
    form: _Form
    bound: Bound
    entry: _Form | None = None
    """Form of a list's entries or a mapping's values; ``None`` for numbers."""
    numbers: Mapping[int, Any] | None = None
    """Known values of an enum by number."""
    descriptor: Descriptor = None
    """Descriptor of the enum."""
    newer: bool = False
    """True if unknown values of the enum are cleared."""


@cache
def _rules(descriptor: Descriptor) -> dict[int, _Rule]:
    """Return the rules of a message's fields by number; numbers and flags need none."""
    rules = {field.number: _rule(descriptor, field) for field in descriptor.fields}
    return {number: rule for number, rule in rules.items() if rule is not None}


def _rule(descriptor: Descriptor, field: Any) -> _Rule | None:
    value_field = field
    form = entry = _form(field)
    if is_map(field):
        form, value_field = _Form.MAP, field.message_type.fields_by_name["value"]
        entry = _form(value_field)
    elif is_repeated(field):
        form = _Form.LIST
    if form is None:
        return None
    bound = bound_of(descriptor.name, field.name)
    if bound is None:
        if form not in (_Form.ENUM, _Form.MESSAGE):
            raise LookupError(f"{descriptor.name}.{field.name} has no bound in formats/limits.py")
        bound = Bound()
    values = value_field.enum_type
    return _Rule(
        field.name,
        form,
        bound,
        entry,
        None if values is None else values.values_by_number,
        values,
        newer=f"{descriptor.name}.{field.name}" in NEWER_ENUMS,
    )


def _form(field: Any) -> _Form | None:
    """Return the form of a single value; ``None`` for numbers and flags."""
    if field.message_type is not None:
        return _Form.MESSAGE
    if field.enum_type is not None:
        return _Form.ENUM
    return _Form.TEXT if field.type in _TEXTS else None


class _Walk:
    """Single pass over a message."""

    def __init__(self, path: str) -> None:
        self._left = MAX_ITEMS
        self._path = [path] if path else []
        self._violations: list[Violation] = []

    def over(self, message: Message) -> list[Violation]:
        self._message(message)
        return self._violations

    def _message(self, message: Any) -> None:
        rules = _rules(message.DESCRIPTOR)
        for field, value in message.ListFields():
            rule = rules.get(field.number)
            if rule is None:
                continue
            self._path.append(rule.name)
            match rule.form:
                case _Form.LIST:
                    self._list(rule, value)
                case _Form.MAP:
                    self._map(rule, value)
                case _Form.ENUM if rule.newer and value not in (rule.numbers or ()):
                    message.ClearField(rule.name)
                case _:
                    self._single(rule, rule.form, value)
            self._path.pop()

    def _single(self, rule: _Rule, form: _Form | None, value: Any) -> None:
        if form is _Form.TEXT:
            self._text(rule.bound, value)
        elif form is _Form.MESSAGE:
            self._message(value)
        elif form is _Form.ENUM and value not in (rule.numbers or ()):
            names = ", ".join(v.name for v in rule.descriptor.values if v.number)
            self._wrong(f"must be one of {names}, not {enum_word(rule.descriptor, value)}")

    def _list(self, rule: _Rule, values: Any) -> None:
        self._count(rule.bound, len(values))
        if rule.bound.shallow:
            return
        self._spend(len(values))
        if rule.entry is None:
            return
        name = self._path.pop()
        for position, value in enumerate(values):
            self._path.append(f"{name}[{position}]")
            self._single(rule, rule.entry, value)
            self._path.pop()
        self._path.append(name)

    def _map(self, rule: _Rule, values: Any) -> None:
        self._count(rule.bound, len(values))
        self._spend(len(values))
        key_bound = Bound(text=rule.bound.key, later=rule.bound.later, free=rule.bound.free)
        for key in values:
            if isinstance(key, str):
                self._text(key_bound, key)
            self._path.append(key[:80] if isinstance(key, str) else str(key))
            self._single(rule, rule.entry, values[key])
            self._path.pop()

    def _text(self, bound: Bound, value: str | bytes) -> None:
        if isinstance(value, str) and not bound.free and "\0" in value:
            self._wrong("contains a NUL character")
        if bound.text is not None and not bound.later and len(value) > bound.text:
            unit = "characters" if isinstance(value, str) else "bytes"
            self._wrong(f"has {len(value)} {unit}, at most {bound.text} allowed")

    def _count(self, bound: Bound, count: int) -> None:
        if bound.count is not None and count > bound.count:
            self._stop(f"has {count} entries, at most {bound.count} allowed")

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            self._path.clear()
            self._stop(f"has more than {MAX_ITEMS} entries in all its lists and mappings")

    def _wrong(self, description: str) -> None:
        self._violations.append(Violation(".".join(self._path) or "(request)", description))
        if len(self._violations) > MAX_REPORTED:
            raise InvalidInput(self._violations)

    def _stop(self, description: str) -> NoReturn:
        self._wrong(description)
        raise InvalidInput(self._violations)


def _count_fields(raw: bytes, descriptor: Descriptor) -> int:
    """Return the number of fields of an encoded message, nested ones included, up to the limit.

    Raises:
        IndexError: The bytes end too early.
        DecodeError: The bytes are malformed.
    """
    count = 0
    parts: list[tuple[int, int, Descriptor]] = [(0, len(raw), descriptor)]
    while parts and count <= MAX_FIELDS:
        position, end, within = parts.pop()
        fields = within.fields_by_number
        while position < end and count <= MAX_FIELDS:
            tag, position = _varint(raw, position)
            count += 1
            kind = tag & 7
            if kind == _DELIMITED:
                length, position = _varint(raw, position)
                field = fields.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    parts.append((position, position + length, field.message_type))
                position += length
            elif kind == _VARINT:
                _, position = _varint(raw, position)
            elif kind in (_FIXED32, _FIXED64):
                position += 4 if kind == _FIXED32 else 8
            else:
                raise DecodeError(f"unexpected wire type {kind}")
    return count


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """Return a number of the wire format and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = raw[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise DecodeError("a number is too long")
