"""Columns of rows: their names, their values by path, and the fields that are read from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tailrace.formats.schema import Violation
from tailrace.formats.wording import describe, nearest, shorten

Path: TypeAlias = tuple[str, ...]
"""Names that lead from a row to a value: a column, then keys of nested mappings."""

_SHOWN_COLUMNS = 30


class MappingError(ValueError):
    """Error of a mapping of fields to columns; the message names the way out."""


def column_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of columns that have a value in at least one row, in order."""
    names: dict[str, None] = {}
    for row in rows:
        if isinstance(row, Mapping):
            names |= dict.fromkeys(
                name for name, value in row.items() if isinstance(name, str) and value is not None
            )
    return list(names)


def show_columns(names: Iterable[str]) -> str:
    """Return the names of columns for a message, cut short if there are many."""
    columns = [shorten(name) for name in names]
    more = len(columns) - _SHOWN_COLUMNS
    text = ", ".join(columns[:_SHOWN_COLUMNS]) or "none"
    return f"{text} and {more} more" if more > 0 else text


def find_column(column: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Return the path of a column that a mapping names; dots lead into nested mappings.

    Raises:
        MappingError: No row has such a column.
    """
    names = column_names(rows)
    if column in names:
        return (column,)
    path = tuple(column.split("."))
    if any(value_at(row, path) is not None for row in rows):
        return path
    near = nearest(column, names)
    hint = f"did you mean {near!r}? " if near else ""
    raise MappingError(f"{describe(column)} is not a column; {hint}there is: {show_columns(names)}")


def value_at(row: Any, path: Path) -> Any:
    """Return the value at a path; None if there is none."""
    value = row
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def path_name(path: Path) -> str:
    """Return a path as messages and mappings write it."""
    return ".".join(path)


def other_values(row: Mapping[str, Any], used: Iterable[Path]) -> dict[str, Any]:
    """Return the columns with a value that no path of ``used`` leads to.

    A column of which only nested values are used keeps the others.
    """
    values = {name: value for name, value in row.items() if value is not None}
    for path in used:
        _remove(values, path)
    return values


def _remove(values: dict[str, Any], path: Path) -> None:
    name, rest = path[0], path[1:]
    if not rest or name not in values:
        values.pop(name, None)
        return
    inner = values[name]
    if isinstance(inner, Mapping):
        inner = dict(inner)
        _remove(inner, rest)
        if inner:
            values[name] = inner
        else:
            del values[name]


def name_violations(row: Mapping[Any, Any]) -> Iterator[Violation]:
    """Yield the violations of columns whose names are not text."""
    for name in row:
        if not isinstance(name, str):
            yield Violation(describe(name), "is not the name of a column: it must be text")
