"""Draft of a record: its content, and the places in the row that the content came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.schema import Violation
from tailrace.formats.wording import shorten

_PLACE = re.compile(r"(\w+)(?:\[(\d+)\](?:\.(\w+))?)?")
"""Beginning of a violation's path: a field, the number of a message in it, and its key."""


@dataclass(frozen=True)
class Origin:
    """The place of a message in its row."""

    path: str
    keys: Mapping[str, str] = field(default_factory=dict)
    """The row's names of keys, by the names that records have; empty for the message itself."""


@dataclass
class Draft:
    """The content of a record while it is made from a row."""

    content: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    """The row's names of the record's fields."""
    origins: dict[str, list[Origin]] = field(default_factory=dict)
    """Places of the messages in fields that are lists of messages."""
    metadata: dict[str, Any] = field(default_factory=dict)
    kept_columns: dict[str, Any] = field(default_factory=dict)
    """The row's columns that become metadata."""
    violations: list[Violation] = field(default_factory=list)
    """Problems that were found before the record could be made; their paths are the row's."""

    def refuse(self, path: str, description: str) -> None:
        """Add a violation; ``path`` is the row's."""
        self.violations.append(Violation(path, description))

    def locate(self, violation: Violation) -> Violation:
        """Return a violation of the record with the path that its cause has in the row."""
        match = _PLACE.match(violation.field)
        if re.match(r"metadata(\.|$)", violation.field):
            return self._locate_metadata(violation)
        if match is None:
            return violation
        name, number, key = match.groups()
        rest = violation.field[match.end() :]
        origins = self.origins.get(name, [])
        if number is not None and int(number) < len(origins):
            origin = origins[int(number)]
            key = origin.keys.get(key, key)
            place = f"{origin.path}.{key}" if key else origin.path
        else:
            place = self.columns.get(name, name) + violation.field[match.end(1) : match.end()]
        return Violation(place + rest, violation.description)

    def _locate_metadata(self, violation: Violation) -> Violation:
        if violation.field == "metadata":
            way = "; --map drop=COLUMN leaves a column out"
            return Violation(violation.field, violation.description + way)
        path = violation.field.removeprefix("metadata.")
        for column in self.kept_columns:
            if re.match(rf"{re.escape(shorten(column))}(?![\w-])", path):
                way = f"; --map drop={shorten(column)} leaves the column out"
                return Violation(path, violation.description + way)
        return Violation(
            f"{self.columns.get('metadata', 'metadata')}.{path}", violation.description
        )
