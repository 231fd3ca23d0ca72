"""Cells of a row: the values of the fields that a form reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.datasets.columns import Path, path_name, value_at


@dataclass(frozen=True)
class Cells:
    """A row, read by fields."""

    row: Mapping[str, Any]
    paths: Mapping[str, Path]
    """Columns of the fields."""
    dropped: frozenset[Path] = frozenset()
    """Columns that are left out."""

    def get(self, field: str) -> Any:
        """Return a field's value; None if the row has none."""
        path = self.paths.get(field)
        return None if path is None else value_at(self.row, path)

    def place(self, field: str) -> str:
        """Return the name of a field's column, for messages."""
        return path_name(self.paths.get(field, (field,)))
