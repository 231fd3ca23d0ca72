"""The keys of the run spec and of the files, read from their schemas."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator
from typing import Any

from tailrace.formats.certificate import Certificate
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.trace import Trace
from tailrace.formats.data.verdict import Verdict
from tailrace.formats.schema import Rule, to_mapping
from tailrace.formats.spec.run_spec import RunSpec, TrainConfig

SCALARS = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any"}

FILES = {
    "line of a dataset": Trace,
    "line of an eval set": EvalItem,
    "line of predictions.jsonl": Prediction,
    "line of verdicts.jsonl": Verdict,
    "certificate of a training state": Certificate,
}


def run_spec() -> str:
    """Return every key of the run spec: path, type, bounds, default; and the old spellings."""
    lines = ["run spec", *_keys(RunSpec, "")]
    lines += ["", "file of train_jax.py", *_renamed(TrainConfig, "")]
    return "\n".join(lines) + "\n"


def formats() -> str:
    """Return every key of the files that users write or read."""
    lines: list[str] = []
    for title, schema in FILES.items():
        lines += [title, *_keys(schema, ""), ""]
    return "\n".join(lines)


def _keys(schema: type[Any], path: str) -> Iterator[str]:
    hints = typing.get_type_hints(schema)
    for field in sorted(dataclasses.fields(schema), key=lambda field: field.name):
        name = f"{path}.{field.name}" if path else field.name
        rule: Rule = field.metadata["rule"]
        block = _block(hints[field.name])
        yield f"  {name}: {_type(hints[field.name])}{_bounds(rule)}{_default(field)}"
        if block is not None:
            yield from _keys(block, name + "[]" * (typing.get_origin(hints[field.name]) is list))
    yield from _renamed(schema, path)


def _renamed(schema: type[Any], path: str) -> Iterator[str]:
    for old, new in sorted(getattr(schema, "RENAMED", {}).items()):
        yield f"  {path}.{old} is an old name: {new}".replace("  .", "  ")


def _block(hint: Any) -> type[Any] | None:
    """Return the schema of a block, or of a list's blocks."""
    for option in (hint, *typing.get_args(hint)):
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return option
    return None


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(option) for option in arguments if option is not type(None))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " | ".join(str(member.value) for member in hint)
    return "block" if _block(hint) else SCALARS.get(hint, str(hint))


def _bounds(rule: Rule) -> str:
    names = ("unit", "minimum", "maximum", "above", "max_length", "item_length", "pattern")
    values = {name: getattr(rule, name) for name in names}
    bounds = "".join(
        f", {name} {value}" for name, value in values.items() if value not in (None, "")
    )
    return bounds + (", duration" if rule.duration else "")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f" = {to_mapping(field.default_factory())}"
    if field.default is dataclasses.MISSING:
        return ", required"
    return f" = {to_mapping(field.default)!r}"
