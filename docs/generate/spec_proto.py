"""``run_spec.proto``, completed from the schema: each field's text is written once.

``python -m docs.generate.spec_proto`` (``make protos`` runs it) rewrites the comments of messages,
fields, enums and enum values, and adds fields of plain types that a message lacks, under the next
free number. It leaves everything else, such as new messages and the comments of a ``oneof``.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docs.generate.attributes import attribute_docs
from docs.generate.markdown import from_docstring
from docs.generate.repository import ROOT
from docs.generate.run_spec import value_type
from tailrace.formats.schema import Rule
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import enum_value_name

PROTO = ROOT / "protos/tailrace/v1/run_spec.proto"
"""File that is completed."""

_WIDTH = 100
_BLOCK = re.compile(r"\s*(message|enum|oneof) (\w+) \{")
_MEMBER = re.compile(r"\s*(?:[\w.<>, ]+ )?(\w+) = (\d+);")
_RESERVED = re.compile(r"\s*reserved (?:\d+ to )?(\d+);")
_TYPES = {str: "string", int: "int32", float: "double", bool: "bool"}


@dataclass
class _Scope:
    """A message, an enum or a oneof whose lines are being read."""

    kind: str
    name: str
    members: set[str] = dataclasses.field(default_factory=set)
    highest: int = 0
    """Highest number used or reserved in it."""


def render(source: str, root: type[Any] = RunSpec) -> str:
    """Return the text of the proto, completed from the schema ``root``."""
    schemas = {schema.__name__: schema for schema in _schemas(root)}
    comments = {name: text for schema in schemas.values() for name, text in _comments(schema)}
    # The root's comment is about the message: it says how it relates to the file that users write.
    comments.pop(root.__name__, None)
    lines: list[str] = []
    scopes: list[_Scope] = []
    for line in source.splitlines():
        if block := _BLOCK.match(line):
            scopes.append(_Scope(block[1], block[2]))
        member = _MEMBER.match(line)
        _note(scopes, member, _RESERVED.match(line))
        name = _name(scopes, member[1] if member else "")
        comment = comments.get(name) if member or (block and block[1] != "oneof") else None
        if comment:
            while lines and lines[-1].lstrip().startswith("//"):
                lines.pop()
            lines += _wrapped(comment, line[: len(line) - len(line.lstrip())])
        if line.strip() == "}":
            lines += _missing_fields(scopes.pop(), schemas, comments)
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Complete the proto."""
    PROTO.write_text(render(PROTO.read_text(encoding="utf-8")), encoding="utf-8")


def _name(scopes: list[_Scope], member: str) -> str:
    # Fields of a oneof are those of its message.
    names = [scope.name for scope in scopes if scope.kind != "oneof"]
    return ".".join([*names, *([member] if member else [])])


def _note(
    scopes: list[_Scope], member: re.Match[str] | None, reserved: re.Match[str] | None
) -> None:
    """Record a field, or a reserved number, in the scopes that hold it."""
    number = int(member[2]) if member else int(reserved[1]) if reserved else 0
    for scope in scopes:
        scope.highest = max(scope.highest, number)
        if member:
            scope.members.add(member[1])


def _missing_fields(
    scope: _Scope, schemas: Mapping[str, type[Any]], comments: Mapping[str, str]
) -> Iterator[str]:
    schema = schemas.get(scope.name) if scope.kind == "message" else None
    hints = typing.get_type_hints(schema) if schema else {}
    fields = dataclasses.fields(schema) if schema else ()
    missing = [field for field in fields if field.name not in scope.members]
    for number, field in enumerate(missing, start=scope.highest + 1):
        kind, is_list = value_type(hints[field.name])
        if kind not in _TYPES:
            raise ValueError(f"{scope.name}.{field.name} is not in {PROTO.name}: declare it there")
        yield from _wrapped(comments[f"{scope.name}.{field.name}"], "  ")
        label = "repeated" if is_list else "optional"
        declaration = f"{label} {_TYPES[kind]}"
        if field.metadata["rule"].duration:
            declaration = "google.protobuf.Duration"
        yield f"  {declaration} {field.name} = {number};"


def _schemas(schema: type[Any]) -> Iterator[type[Any]]:
    """Yield a schema and those of its fields, each of which is a message of the same name."""
    yield schema
    for hint in typing.get_type_hints(schema).values():
        kind, _ = value_type(hint)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _schemas(typing.cast("type[Any]", kind))


def _comments(schema: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the comment of a message, its fields, and the enums of these."""
    yield schema.__name__, _paragraph(schema.__doc__)
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        yield f"{schema.__name__}.{field.name}", _field_comment(field, hints[field.name])
        kind, _ = value_type(hints[field.name])
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            yield kind.__name__, _paragraph(kind.__doc__)
            docs = attribute_docs(kind)
            yield from ((f"{kind.__name__}.{_value_name(m)}", docs[m.name]) for m in kind)


def _field_comment(field: dataclasses.Field[Any], hint: Any) -> str:
    rule: Rule = field.metadata["rule"]
    has_unit = rule.unit and not rule.duration
    doc = f"{rule.doc.rstrip('.')}, in {rule.unit}." if has_unit else rule.doc
    facts = "; ".join(filter(None, [_default(field, rule), _bounds(hint, rule)]))
    return f"{doc} {facts[0].upper()}{facts[1:]}." if facts else doc


def _default(field: dataclasses.Field[Any], rule: Rule) -> str:
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else ""
    value = field.default
    if value is None or dataclasses.is_dataclass(value):
        return ""
    if isinstance(value, enum.Enum):
        return f"default {_value_name(value)}"
    if isinstance(value, bool):
        return f"default {str(value).lower()}"
    if isinstance(value, str):
        return f"default `{value}`"
    return f"default {_number(value)}{_seconds(rule)}"


def _bounds(hint: Any, rule: Rule) -> str:
    kind, is_list = value_type(hint)
    if is_list or typing.get_origin(kind) is dict:
        longest = f"each of at most {rule.item_length:,} characters" if rule.item_length else ""
        return ", ".join(filter(None, [_at_most(rule.max_length), longest]))
    if kind is str:
        # A pattern says more than the longest text that it matches.
        has_bound = rule.max_length and not rule.pattern
        return f"{_at_most(rule.max_length)} characters" if has_bound else ""
    if rule.minimum is not None and rule.maximum is not None:
        return f"{_number(rule.minimum)} to {_number(rule.maximum)}{_seconds(rule)}"
    bounds = {"above": rule.above, "at least": rule.minimum, "at most": rule.maximum}
    limits = [f"{word} {_number(n)}{_seconds(rule)}" for word, n in bounds.items() if n is not None]
    return ", ".join(limits)


def _at_most(count: int | None) -> str:
    return "" if count is None else f"at most {count:,}"


def _seconds(rule: Rule) -> str:
    return " s" if rule.duration else ""


def _number(value: float) -> str:
    """Return a number as people write it: 2e-5, 65,536."""
    return re.sub(r"e-0", "e-", f"{value:,.10g}")


def _value_name(member: enum.Enum) -> str:
    return enum_value_name(type(member).__name__, str(member.value))


def _paragraph(docstring: str | None) -> str:
    """Return a docstring's first paragraph."""
    first, *_ = from_docstring(docstring).split("\n\n")
    return first


def _wrapped(text: str, indent: str) -> list[str]:
    prefix = f"{indent}// "
    return textwrap.wrap(
        text.replace("\n", " "),
        _WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    main()
