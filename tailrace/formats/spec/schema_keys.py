"""The keys of a schema as data, for programs that show it: forms and reference pages."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from tailrace.formats.schema import Rule, to_mapping


class KeyForm(enum.StrEnum):
    """Form of a key's value."""

    TEXT = "text"
    """Text."""
    INTEGER = "integer"
    """A whole number."""
    NUMBER = "number"
    """A number."""
    DURATION = "duration"
    """Seconds, or text such as ``1h30m``."""
    SWITCH = "switch"
    """True or false."""
    CHOICE = "choice"
    """One word of an enum."""
    TEXTS = "texts"
    """A list of texts."""
    MAPPING = "mapping"
    """A mapping of free names."""
    BLOCK = "block"
    """The keys of another schema."""
    BLOCKS = "blocks"
    """A list of blocks."""


_SCALARS = {
    str: KeyForm.TEXT,
    int: KeyForm.INTEGER,
    float: KeyForm.NUMBER,
    bool: KeyForm.SWITCH,
}


@dataclass(frozen=True)
class SchemaKey:
    """A key of a schema."""

    name: str
    """Name of the key."""
    rule: Rule
    """Description and bounds."""
    form: KeyForm
    """Form of the value."""
    is_required: bool
    """True for a key without a default value."""
    default: Any
    """Default value as plain data; None without one."""
    schema: type[Any] | None
    """Schema of a block, or of the blocks of a list."""
    choices: type[enum.Enum] | None
    """Enum of a choice."""

    @property
    def is_optional_block(self) -> bool:
        """True for a block whose absence means something else than its default values."""
        return self.form is KeyForm.BLOCK and self.default is None and not self.is_required


@functools.cache
def _keys(schema: Hashable) -> tuple[SchemaKey, ...]:
    fields = dataclasses.fields(typing.cast(Any, schema))
    hints = typing.get_type_hints(schema)
    return tuple(_key(field, hints[field.name]) for field in fields)


def schema_keys(schema: type[Any]) -> tuple[SchemaKey, ...]:
    """Return the keys of a schema, in its order."""
    return _keys(typing.cast(Hashable, schema))


def set_values(instance: Any) -> dict[str, Any]:
    """Return a schema instance as plain data, without the keys that have their default value."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if value is None or value in ([], {}) or value == field.default:
            continue
        if dataclasses.is_dataclass(value):
            values[field.name] = set_values(value)
        elif isinstance(value, list) and dataclasses.is_dataclass(value[0]):
            values[field.name] = [set_values(block) for block in value]
        else:
            values[field.name] = to_mapping(value)
    return values


def _key(field: dataclasses.Field[Any], hint: Any) -> SchemaKey:
    rule: Rule = field.metadata["rule"]
    has_factory = field.default_factory is not dataclasses.MISSING
    is_required = field.default is dataclasses.MISSING and not has_factory
    default = None if is_required or has_factory else to_mapping(field.default)
    value_type, is_list = _value_type(hint)
    is_block = isinstance(value_type, type) and dataclasses.is_dataclass(value_type)
    schema: type[Any] | None = value_type if is_block else None
    choices = None
    if schema is not None:
        form = KeyForm.BLOCKS if is_list else KeyForm.BLOCK
    elif is_list:
        form = KeyForm.TEXTS
    elif typing.get_origin(value_type) is dict:
        form = KeyForm.MAPPING
    elif issubclass(value_type, enum.Enum):
        form, choices = KeyForm.CHOICE, value_type
    else:
        form = KeyForm.DURATION if rule.duration else _SCALARS[value_type]
    return SchemaKey(field.name, rule, form, is_required, default, schema, choices)


def _value_type(hint: Any) -> tuple[Any, bool]:
    """Return the type of a key's value or list elements, and True for a list."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], True
    return hint, False
