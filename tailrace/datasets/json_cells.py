"""JSON inside rows: values written as text, and nulls that stand for absent keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.datasets.draft import Draft
from tailrace.formats.data.jsonl import decode_line

MAX_DEPTH = 64
"""Depth to which nulls are dropped; deeper values are refused where they are read."""


def parse_text(text: str, path: str, draft: Draft) -> Any:
    """Return the value that a text holds as JSON; None, with a violation, if it holds none."""
    try:
        return decode_line(text.encode())
    except UnicodeEncodeError:
        draft.refuse(path, "contains half of a surrogate pair, which UTF-8 cannot hold")
    except ValueError as error:
        hint = ""
        if text.lstrip()[:2] in ("{'", "['") or text.lstrip().startswith("[{'"):
            hint = ": it is in Python's notation; write it with json.dumps"
        draft.refuse(path, f"is text that {error}{hint}")
    return None


def parsed(value: Any, path: str, draft: Draft) -> Any:
    """Return a value, parsed if it is JSON written as text; None for blank text."""
    if not isinstance(value, str):
        return value
    return parse_text(value, path, draft) if value.strip() else None


def present(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a mapping whose values are not null."""
    return {name: inner for name, inner in value.items() if inner is not None}


def without_nulls(value: Any, depth: int = 0) -> Any:
    """Return a value without the keys of mappings, at any depth, whose values are null.

    Columns of structures, in Arrow and Parquet, have every key in every row.
    """
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        return {
            name: without_nulls(inner, depth + 1)
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, (list, tuple)):
        return [without_nulls(inner, depth + 1) for inner in value]
    return value
