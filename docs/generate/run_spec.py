"""The run spec's reference page, from its schema."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator
from typing import Any

from docs.generate import markdown
from docs.generate.attributes import attribute_docs
from tailrace.formats.schema import Rule, to_mapping
from tailrace.formats.spec.run_spec import RunSpec

_SCALARS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def page() -> str:
    """Return the page."""
    lines = [
        markdown.NOTICE,
        "",
        "# The run spec",
        "",
        "One YAML file, or the message `tailrace.v1.RunSpec` with the same names. `training/`",
        "reads the `model` and `train` blocks of it.",
    ]
    for path, schema in _blocks(RunSpec, ""):
        lines += ["", f"## {path or 'run'}", "", _first_line(schema), ""]
        lines += ["| key | type | default | what |", "|---|---|---|---|"]
        lines += [_row(schema, field) for field in dataclasses.fields(schema)]
        lines += _words(schema)
    return "\n".join(lines) + "\n"


def _blocks(schema: type[Any], path: str) -> Iterator[tuple[str, type[Any]]]:
    yield path, schema
    hints = typing.get_type_hints(schema)
    seen: set[type[Any]] = set()
    for field in dataclasses.fields(schema):
        kind, many = value_type(hints[field.name])
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind not in seen:
            seen.add(kind)
            name = field.name + ("[]" if many else "")
            yield from _blocks(kind, f"{path}.{name}" if path else name)


def _row(schema: type[Any], field: dataclasses.Field[Any]) -> str:
    rule: Rule = field.metadata["rule"]
    kind, many = value_type(typing.get_type_hints(schema)[field.name])
    kind_text = _kind_text(kind, rule)
    if many:
        kind_text = f"list of {kind_text}"
    unit = f" In {rule.unit}." if rule.unit else ""
    return f"| `{field.name}` | {kind_text} | {_default(field)} | {rule.doc}{unit} |"


def _words(schema: type[Any]) -> Iterator[str]:
    """Yield the meaning of each word that a key of the block takes."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind, _ = value_type(hints[field.name])
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            docs = member_docs(kind)
            yield from ("", f"`{field.name}`:", "")
            yield from (f"- `{member.value}`: {docs[member.name]}" for member in kind)


def member_docs(kind: type[enum.Enum]) -> dict[str, str]:
    """Return the docstring of each member of an enum, by the member's name.

    Raises:
        ValueError: A member has none.
    """
    docs = {name: text.replace("\n", " ") for name, text in attribute_docs(kind).items()}
    missing = [member.name for member in kind if member.name not in docs]
    if missing:
        raise ValueError(f"{kind.__name__} has members without a docstring: {', '.join(missing)}")
    return docs


def value_type(hint: Any) -> tuple[Any, bool]:
    """Return the type of a field's value or list elements, and True for a list."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], True
    return hint, False


def _kind_text(kind: Any, rule: Rule) -> str:
    if dataclasses.is_dataclass(kind):
        return "block"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    if typing.get_origin(kind) is dict:
        return "JSON object" if typing.get_args(kind)[1] is Any else "text by name"
    return ("duration" if rule.duration else _SCALARS[kind]) + _bounds(kind, rule)


def _bounds(kind: Any, rule: Rule) -> str:
    if kind is str:
        return ""
    low = f"above {rule.above:g}" if rule.above is not None else ""
    if rule.minimum is not None:
        low = f"from {rule.minimum:,g}"
    high = f"to {rule.maximum:,.10g}" if rule.maximum is not None else ""
    return "".join(f" {part}" for part in (low, high) if part)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "none"
    if field.default is dataclasses.MISSING:
        return "required"
    value = to_mapping(field.default)
    return "none" if value is None else "see below" if isinstance(value, dict) else f"`{value}`"


def _first_line(schema: type[Any]) -> str:
    return (schema.__doc__ or "").strip().splitlines()[0].replace("``", "`")
