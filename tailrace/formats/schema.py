"""Strict mapping of plain data (YAML, JSON, protobuf) onto dataclasses.

A dataclass whose fields are declared with :func:`key` is a schema. :func:`parse` checks types,
ranges, choices and unknown names, and collects *every* violation before it raises, so that a user
can correct a file in one go. :func:`to_mapping` is its inverse; :func:`from_mapping` reads stored
mappings without checks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from tailrace.formats.schema_values import (
    Rule,
    Violation,
    in_range,
    join,
    read_duration,
    read_json,
    read_labels,
    read_metadata,
    read_scalar,
)
from tailrace.formats.wording import describe, is_blank, nearest

__all__ = [
    "MAX_REPORTED",
    "MORE",
    "Rule",
    "SpecError",
    "T",
    "Violation",
    "capped",
    "exactly_one",
    "from_mapping",
    "key",
    "parse",
    "to_mapping",
]

T = TypeVar("T")

MAX_REPORTED = 100
"""Maximum number of violations that are listed; further ones are only counted."""

MORE = "(more)"
"""``field`` of the last violation, which counts those that are not listed."""

_REFUSED_KEYS = {
    "trust_remote_code": "is not supported: code that comes with a model is not run; leave it out",
}
"""Keys of other tools that no schema will have, with the reason."""

_SHOWN_KEYS = 4

_UNREPORTED = Violation(MORE, "is not a known key")
"""Placeholder of a violation that is counted and not listed."""

_SCALARS = (str, int, float, bool)


class SpecError(ValueError):
    """Error of input that does not fit its schema; ``violations`` has every wrong field at once.

    Show them :func:`capped`.
    """

    def __init__(self, violations: list[Violation]) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in capped(violations)))


def capped(violations: list[Violation], count: int | None = None) -> list[Violation]:
    """Return the first :data:`MAX_REPORTED` violations, and a last one that counts the others.

    ``count`` is the number of all violations, if ``violations`` holds only some of them.
    """
    rest = (len(violations) if count is None else count) - MAX_REPORTED
    if rest <= 0:
        return violations
    return [*violations[:MAX_REPORTED], Violation(MORE, f"and {rest} more")]


def key(doc: str, *, default: Any = dataclasses.MISSING, **rule: Any) -> Any:
    """Declare a schema field.

    Args:
        doc: One-line description.
        default: Default value; without one, the key is required.
        **rule: Attributes of :class:`Rule`. ``minimum`` and ``maximum`` are inclusive bounds,
            ``above`` is an exclusive one; ``max_length`` bounds text and lists; ``duration``
            accepts seconds, or text such as ``1h30m``.
    """
    metadata = {"rule": Rule(doc, **rule)}
    if isinstance(default, (list, dict)):
        kind = type(default)
        return dataclasses.field(default_factory=lambda: kind(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse(schema: type[T], data: object, path: str = "") -> T:
    """Return the instance of ``schema`` that plain data describes.

    Raises:
        SpecError: Every violation: wrong types, values out of range, unknown keys (with the nearest
            known name), renamed keys (with the new name) and the schema's own checks.
    """
    violations: list[Violation] = []
    value = _dataclass(schema, data, path, violations)
    if violations:
        raise SpecError(violations)
    return typing.cast(T, value)


def blank_violations(path: str, **texts: str | list[str]) -> list[Violation]:
    """Return the violations of texts, or lists of texts, without a visible character."""
    blank = "is blank: it must have a visible character"
    violations = []
    for name, value in texts.items():
        named = {name: value} if isinstance(value, str) else _numbered(name, value)
        violations += [Violation(join(path, n), blank) for n, v in named.items() if is_blank(v)]
    return violations


def _numbered(name: str, values: list[str]) -> dict[str, str]:
    return {f"{name}[{i}]": value for i, value in enumerate(values)}


def exactly_one(path: str, **options: object) -> list[Violation]:
    """Return the violation of a block that has none or several of keys that exclude each other."""
    present = [name for name, value in options.items() if value is not None]
    if len(present) == 1:
        return []
    names = ", ".join(options)
    problem = f"has {' and '.join(present)}" if present else "has none"
    return [Violation(path, f"needs exactly one of {names}; {problem}")]


def to_mapping(value: Any) -> Any:
    """Return a schema instance as plain data (dict, list, scalars), without unset keys."""
    if type(value) in _SCALARS:
        return value
    if names := _names(value.__class__):
        pairs = ((name, getattr(value, name)) for name in names)
        return {name: to_mapping(v) for name, v in pairs if v is not None and v not in ([], {})}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list):
        return [to_mapping(item) for item in value]
    if isinstance(value, dict):
        return dict(value)
    return value


@functools.cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of a schema's fields; empty for other types.

    It is cached because records are written by the million.
    """
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def from_mapping(schema: type[T], stored: Mapping[str, Any]) -> T:
    """Return the instance that :func:`to_mapping` turned into plain data, without any check.

    Stored data may exceed the bounds of this release and have keys of another; unknown keys are
    skipped.
    """
    value: T = _builder(typing.cast(Hashable, schema))(stored)
    return value


@functools.cache
def _builder(hint: Any) -> Callable[[Any], Any]:
    """Return the function that turns stored plain data into a value of a type.

    It is cached because inspecting types is slow.
    """
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint, *others = (arg for arg in typing.get_args(hint) if arg is not type(None))
        if others:
            build_list = _builder(others[0])
            return lambda stored: stored if isinstance(stored, str) else build_list(stored)
    if typing.get_origin(hint) is list:
        build_entry = _builder(typing.get_args(hint)[0])
        return lambda stored: [build_entry(entry) for entry in stored]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        builders = {field.name: _builder(hints[field.name]) for field in dataclasses.fields(hint)}
        return lambda stored: hint(
            **{name: builders[name](stored[name]) for name in stored if name in builders}
        )
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint
    return lambda stored: stored


def _dataclass(schema: type[Any], data: object, path: str, out: list[Violation]) -> Any:
    if not isinstance(data, (dict, Mapping)):
        keys = ", ".join(f.name for f in dataclasses.fields(schema)[:_SHOWN_KEYS])
        problem = f"must be a mapping with keys such as {keys}, not {describe(data)}"
        required = [f.name for f in dataclasses.fields(schema) if _is_required(f)]
        if isinstance(data, str) and len(required) == 1:
            problem += f": write {required[0]}: {data[:100]}"
        out.append(Violation(path or "(root)", problem))
        return None
    fields = _fields(typing.cast(Hashable, schema))
    count = len(out)
    if not data.keys() <= fields.keys():
        _unknown_keys(schema, data, fields, path, out)
    values: dict[str, Any] = {}
    prefix = f"{path}." if path else ""
    for name, (is_required, read) in fields.items():
        value = data.get(name)
        if value is not None:
            values[name] = read(value, prefix + name, out)
        elif is_required:
            out.append(Violation(prefix + name, "is required"))
    if len(out) > count:
        return None
    instance = schema(**values)
    checks = getattr(instance, "violations", None)
    if checks is not None:
        out.extend(checks(path))
    return instance


_Reader = Callable[[Any, str, list[Violation]], Any]
"""Function that returns a field's value from data at a path, and appends violations to a list."""


@functools.cache
def _fields(schema: Hashable) -> dict[str, tuple[bool, _Reader]]:
    """Return the requiredness and the reader of each field; cached, as inspecting types is slow."""
    hints = typing.get_type_hints(schema)
    return {
        field.name: (_is_required(field), _reader(hints[field.name], field.metadata["rule"]))
        for field in dataclasses.fields(typing.cast(Any, schema))
    }


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown_keys(
    schema: type[Any],
    data: Mapping[Any, Any],
    fields: Mapping[str, Any],
    path: str,
    out: list[Violation],
) -> None:
    renamed: Mapping[str, str] = getattr(schema, "RENAMED", {})
    refused = _REFUSED_KEYS | getattr(schema, "REFUSED", {})
    for name in data:
        if name in fields:
            continue
        key_path = join(path, str(name))
        if name in renamed:
            out.append(Violation(key_path, f"is an old name: use {renamed[name]}"))
            continue
        if name in refused:
            out.append(Violation(key_path, refused[name]))
            continue
        if len(out) >= MAX_REPORTED:
            # Only counted: comparing names is slow, and so many hints would go unread.
            out.append(_UNREPORTED)
            continue
        suggestion = nearest(str(name), fields)
        hint = f"did you mean {suggestion!r}?" if suggestion else f"known keys: {', '.join(fields)}"
        out.append(Violation(key_path, f"is not a known key; {hint}"))


def _reader(hint: Any, rule: Rule) -> _Reader:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint, *others = (arg for arg in typing.get_args(hint) if arg is not type(None))
        if others:
            # Text or a list; its rule bounds the list by ``item_length``.
            list_rule = Rule(rule.doc, max_length=rule.item_length)
            return functools.partial(
                _text_or_list, _reader(hint, rule), _reader(others[0], list_rule)
            )
    origin = typing.get_origin(hint)
    if origin is list:
        item_rule = dataclasses.replace(rule, max_length=rule.item_length)
        return functools.partial(_list, _reader(typing.get_args(hint)[0], item_rule), rule)
    if origin is dict:
        values = typing.get_args(hint)[1]
        read = {str: read_labels, Any: read_json}.get(values, read_metadata)
        return functools.partial(read, rule)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return functools.partial(_dataclass, hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return functools.partial(_enum, hint)
    if rule.duration:
        return functools.partial(_duration, rule)
    return functools.partial(read_scalar, hint, rule)


def _enum(kind: type[enum.Enum], data: object, path: str, out: list[Violation]) -> Any:
    if isinstance(data, str):
        with contextlib.suppress(ValueError):
            return kind(data)
    choices = [str(member.value) for member in kind]
    out.append(Violation(path, f"must be one of {', '.join(choices)}, not {describe(data)}"))
    return None


def _duration(rule: Rule, data: object, path: str, out: list[Violation]) -> Any:
    return in_range(rule, read_duration(data, path, out), path, out)


def _text_or_list(
    text: _Reader, entries: _Reader, data: object, path: str, out: list[Violation]
) -> Any:
    if isinstance(data, (str, list, tuple)):
        return (text if isinstance(data, str) else entries)(data, path, out)
    out.append(Violation(path, f"must be text or a list, not {describe(data)}"))
    return None


def _list(read: _Reader, rule: Rule, data: object, path: str, out: list[Violation]) -> Any:
    if not isinstance(data, (list, tuple)):
        out.append(Violation(path, f"must be a list, not {describe(data)}"))
        return None
    if rule.max_length is not None and len(data) > rule.max_length:
        out.append(Violation(path, f"has {len(data)} entries, at most {rule.max_length} allowed"))
        data = data[: rule.max_length]
    return [read(item, f"{path}[{i}]", out) for i, item in enumerate(data)]
