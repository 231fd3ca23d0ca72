"""Conversion of a source to a file of canonical lines, all or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tailrace.datasets.convert import Plan
from tailrace.datasets.detect import detect
from tailrace.datasets.readers.formats import FileFormat
from tailrace.datasets.readers.row import DataFileError, Row
from tailrace.datasets.readers.stream import BOM, unpacker
from tailrace.datasets.source import Source, describe_left_out, open_source
from tailrace.formats.data.dataset_file import MAX_LINES, default_id
from tailrace.formats.data.jsonl import MAX_LINE_BYTES, MAX_REPORTED_ERRORS
from tailrace.formats.data.key_spool import KeySpool
from tailrace.formats.data.record import SCHEMAS, DatasetKind, Record, dump_line
from tailrace.formats.schema import SpecError, parse

DETECTION_ROWS = 200
"""Number of readable rows from which the form of all rows is detected."""

_DETECTION_BYTES = 16 << 20
_PROGRESS_ROWS = 1000
_SHOWN = 3
_SHARD_BITS = 40


@dataclass(frozen=True)
class RowError:
    """A wrong row: its place in the source and the reason."""

    place: str
    reason: str


class WrongRows(ValueError):  # noqa: N818 - names what it lists
    """Wrong rows: the first :data:`MAX_REPORTED_ERRORS`, and the number of all."""

    def __init__(self, errors: list[RowError], count: int) -> None:
        self.errors = errors
        self.count = count
        beginning = "; ".join(f"{e.place}: {e.reason}" for e in errors[:_SHOWN])
        more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
        super().__init__(f"{beginning}{more}")


@dataclass(frozen=True)
class Conversion:
    """A file of canonical lines, with the facts about its making."""

    path: Path
    """The file: the source itself if its lines are canonical already, else the target."""
    kind: DatasetKind
    lines: int
    reason: str
    """The detected form with the columns that it was known by."""
    source: str
    """The source with its format and split, for people."""
    origin: str = ""
    """Address and commit of a data set on the hub; empty for local files."""
    note: str = ""
    """Sentence about files that were left out; empty if there are none."""


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    kind: DatasetKind | str | None = None,
    mapping: Mapping[str, str] | None = None,
    split: str | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> Conversion:
    """Write the rows of a source as canonical lines, if all of them are records of one kind.

    The result is for :meth:`tailrace.Client.import_dataset`::

        conversion = convert_file("chats.parquet", "chats.jsonl")
        client.import_dataset("chats", conversion.path, kind=conversion.kind)

    Args:
        source: JSON Lines, a JSON array, CSV or Parquet, text also packed with gzip or Zstandard; a
            folder of them; or ``hf://datasets/ORG/NAME[@REVISION][/PATH]``.
        target: File to write; it is incomplete if an error is raised, and not written if the source
            is a file of canonical lines.
        kind: Kind of the records (default: detected).
        mapping: Columns by field, as :func:`tailrace.datasets.detect.detect` takes them.
        split: Name of the split of a folder (default: the only one).
        on_rows: Function that is called with the number of converted rows from time to time.

    Raises:
        WrongRows: Rows are not records; the first 100 are listed.
        DataFileError: The source cannot be read as a whole.
        DetectionError: The rows are of no known form, or of several.
        MappingError: The mapping has an unknown field or a missing column.
        OSError: A file cannot be read or written.
    """
    target = Path(target)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="tailrace-") as workspace:
        opened = open_source(source, Path(workspace), split)
        file_format = opened.format()
        plan = detect(
            _first_rows(opened),
            DatasetKind(kind) if kind else None,
            mapping,
            is_arrow=file_format is FileFormat.PARQUET,
        )
        report = on_rows or (lambda _: None)
        count = None
        if _is_plain(opened, file_format) and plan.is_plain:
            count = _count_canonical(opened, plan.kind, Path(workspace), report)
        path = target if count is None else opened.shards[0].path
        if count is None:
            with target.open("wb") as out:
                count = _convert(opened, plan, out, Path(workspace), report)
    return Conversion(
        path,
        plan.kind,
        count,
        plan.reason,
        f"{opened.title}: {file_format}",
        opened.origin,
        describe_left_out(opened),
    )


def _is_plain(source: Source, file_format: FileFormat) -> bool:
    """Return True for a local file of JSON Lines that can be stored byte for byte."""
    if file_format is not FileFormat.JSON_LINES or len(source.shards) > 1 or source.origin:
        return False
    with source.shards[0].path.open("rb") as file:
        beginning = file.read(len(BOM) + 1)
    return unpacker(beginning) is None and not beginning.startswith(BOM)


def _count_canonical(
    source: Source, kind: DatasetKind, folder: Path, on_rows: Callable[[int], None]
) -> int | None:
    """Return the number of rows if every one is a record already, and no id repeats."""
    schema: type[Record] = SCHEMAS[kind]
    count = 0
    with closing(KeySpool(folder)) as ids:
        for row in source.rows():
            if row.problem or b"null" in row.raw:
                # A null may stand for an absent key, as Arrow writes them: conversion drops it.
                return None
            try:
                record = parse(schema, row.content)
            except SpecError:
                return None
            ids.add(record.id or default_id(kind, row.number), row.number)
            count += 1
            if count % _PROGRESS_ROWS == 0:
                on_rows(count)
        return None if count > MAX_LINES or any(ids.repeats()) else count


def _convert(
    source: Source, plan: Plan, out: BinaryIO, folder: Path, on_rows: Callable[[int], None]
) -> int:
    """Write every row as a canonical line; return their number. Raises as :func:`convert_file`."""
    with closing(KeySpool(folder)) as ids:
        converter = _Converter(source, plan, out, ids)
        converter.run(on_rows)
        return converter.count


def _first_rows(source: Source) -> list[Mapping[str, Any]]:
    """Return the first rows that can be read.

    Raises:
        WrongRows: Not one row can be read.
        DataFileError: There are no rows.
    """
    rows: list[Mapping[str, Any]] = []
    errors = _RowErrors()
    size = 0
    for row in source.rows():
        if row.problem:
            errors.add(row.place, row.problem)
        elif isinstance(row.content, dict):
            rows.append(row.content)
            size += row.size or _text_size(row.content)
        else:
            errors.add(row.place, "must be an object with the columns' names as keys")
        if len(rows) == DETECTION_ROWS or size > _DETECTION_BYTES:
            break
    if not rows:
        errors.raise_any()
        raise DataFileError(f"{source.title}: has no rows")
    return rows


def _text_size(value: Any) -> int:
    """Return the number of characters in plain data, for rows of no text file."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_text_size, inner))


class _RowErrors:
    """Collector of wrong rows that keeps the first, so that huge bad input stays cheap."""

    def __init__(self) -> None:
        self.errors: list[RowError] = []
        self.count = 0

    def add(self, place: str, reason: str) -> None:
        self.count += 1
        if len(self.errors) < MAX_REPORTED_ERRORS:
            self.errors.append(RowError(place, reason))

    def raise_any(self) -> None:
        if self.count:
            raise WrongRows(self.errors, self.count)


class _Converter:
    """The rows of a source on their way to canonical lines.

    Args:
        source: Files to read.
        plan: Way from rows to records.
        out: File for the lines.
        ids: Ids of the records.
    """

    def __init__(self, source: Source, plan: Plan, out: BinaryIO, ids: KeySpool) -> None:
        self._source = source
        self._plan = plan
        self._out = out
        self._ids = ids
        self._errors = _RowErrors()
        self._shards = [shard.name for shard in source.shards]
        self._units: list[str] = []
        self.count = 0
        """Number of records."""

    def run(self, on_rows: Callable[[int], None]) -> None:
        """Convert every row.

        Raises:
            WrongRows: Rows are wrong, or have the id of an earlier one.
            DataFileError: A file cannot be read, or there are too many rows.
        """
        for shard, row in self._rows():
            if self.count == MAX_LINES:
                raise DataFileError(
                    f"{self._source.title}: has more than the {MAX_LINES:,} rows allowed"
                )
            try:
                self._convert(shard, row)
            except SpecError as error:
                self._errors.add(row.place, str(error))
            except ValueError as error:
                self._errors.add(row.place, str(error) or "cannot be written as JSON")
            if self.count % _PROGRESS_ROWS == 0:
                on_rows(self.count)
        for number, earlier in self._ids.repeats():
            self._errors.add(self._place(number), f"id: is that of {self._place(earlier)}")
        self._errors.raise_any()
        on_rows(self.count)

    def _rows(self) -> Iterator[tuple[int, Row]]:
        """Yield the readable rows with the number of their file."""
        shard = 0
        for row in self._source.rows():
            while self._shards[shard] != row.file:
                shard += 1
            if not self._units:
                self._units = [row.unit]
            if row.problem:
                self._errors.add(row.place, row.problem)
            else:
                yield shard, row

    def _convert(self, shard: int, row: Row) -> None:
        record = self._plan.convert(row.content)
        self.count += 1
        name = record.id or default_id(self._plan.kind, self.count)
        self._ids.add(name, shard << _SHARD_BITS | row.number)
        if self._errors.count:
            return
        line = dump_line(record).encode()
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"is longer than {MAX_LINE_BYTES} bytes as a line of JSON")
        self._out.write(line)

    def _place(self, code: int) -> str:
        shard, number = code >> _SHARD_BITS, code & ((1 << _SHARD_BITS) - 1)
        return Row(number, None, self._units[0], self._shards[shard]).place
