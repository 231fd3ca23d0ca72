"""Conversion of rows to records of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.datasets.cells import Cells
from tailrace.datasets.columns import Path, name_violations, other_values
from tailrace.datasets.draft import Draft
from tailrace.datasets.forms import Form, finish
from tailrace.datasets.json_cells import parsed, without_nulls
from tailrace.formats.data.record import SCHEMAS, DatasetKind, Record
from tailrace.formats.schema import SpecError, Violation, parse
from tailrace.formats.wording import describe

_MAX_ID_BITS = 400


@dataclass(frozen=True)
class Plan:
    """The way from rows of a file to records of a kind."""

    kind: DatasetKind
    form: Form
    columns: Mapping[str, Path]
    """Column of each field that rows may have."""
    reason: str
    """The detected form, with the columns that it was known by."""
    dropped: frozenset[Path] = frozenset()
    """Columns that records leave out."""
    is_arrow: bool = False
    """True for rows of Arrow or Parquet, whose structures have nulls in place of absent keys."""

    @property
    def is_plain(self) -> bool:
        """True if columns have the names of fields, so that rows can be records as they are."""
        return not self.dropped and all(path == (name,) for name, path in self.columns.items())

    def convert(self, row: Mapping[str, Any]) -> Record:
        """Return the record of a row.

        Columns that the form does not read are kept as metadata.

        Raises:
            SpecError: The row is not of the form; every violation names the row's own column.
        """
        if not isinstance(row, Mapping):
            raise SpecError([Violation("(root)", f"must be an object, not {describe(row)}")])
        if self.is_arrow:
            row = without_nulls(row)
        draft = Draft(violations=list(name_violations(row)))
        cells = Cells(row, self.columns, self.dropped)
        self.form.read(cells, draft)
        if self.kind is not DatasetKind.TRACE:
            finish(cells, draft)
            self._read_id(cells, draft)
            self._read_metadata(cells, draft)
        if draft.violations:
            raise SpecError(draft.violations)
        try:
            return parse(SCHEMAS[self.kind], draft.content)
        except SpecError as error:
            raise SpecError([draft.locate(v) for v in error.violations]) from None

    def _read_id(self, cells: Cells, draft: Draft) -> None:
        value = cells.get("id")
        place = draft.columns["id"] = cells.place("id")
        if value is None or value == "":
            return
        if isinstance(value, int) and not isinstance(value, bool):
            if value.bit_length() > _MAX_ID_BITS:
                draft.refuse(place, "is a number with more than 120 digits")
                return
            value = str(value)
        if not isinstance(value, str):
            draft.refuse(place, f"must be text or a whole number, not {describe(value)}")
            return
        draft.content["id"] = value

    def _read_metadata(self, cells: Cells, draft: Draft) -> None:
        """Collect the columns that are not read, and the fields of a column of metadata."""
        metadata = other_values(cells.row, [*self.columns.values(), *self.dropped])
        draft.kept_columns = dict(metadata)
        place = cells.place("metadata")
        value = cells.get("metadata")
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = parsed(value, place, draft)
        if isinstance(value, Mapping):
            for name in value.keys() & metadata.keys():
                draft.refuse(f"{place}.{name}", "is the name of a column, too: drop one of them")
            metadata |= value
        elif value is not None and value != "":
            metadata[place] = value
        metadata |= draft.metadata
        if metadata:
            draft.content["metadata"] = metadata
        draft.columns["metadata"] = place
