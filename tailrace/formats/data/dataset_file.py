"""Dataset files: lines of one kind, checked once and then read on demand."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, overload

from tailrace.formats.data.jsonl import LineErrors, bounded_lines, decode_line, parse_records
from tailrace.formats.data.key_spool import KeySpool
from tailrace.formats.data.record import SCHEMAS, DatasetKind, Record, kind_of
from tailrace.formats.schema import parse

MAX_LINES = 10_000_000
"""Maximum number of lines of a dataset."""


def detect_kind(first_line: bytes) -> DatasetKind:
    """Return the kind of canonical lines by the first of them; a trace for lines of no kind."""
    try:
        return kind_of(decode_line(first_line)) or DatasetKind.TRACE
    except ValueError:
        return DatasetKind.TRACE


def scan_records(
    lines: Iterable[bytes],
    errors: LineErrors,
    kind: DatasetKind | None = None,
    folder: Path | None = None,
) -> Iterator[tuple[int, Record]]:
    """Yield (line number, record) for the valid lines of a dataset; wrong ones go to ``errors``.

    Every record gets an id. A line is wrong if it is not JSON, not a record of the kind, or has the
    id of an earlier line, which is found out after the last one. Input without any record is an
    error, too.

    Args:
        lines: Lines of the dataset.
        errors: Collector of the wrong lines.
        kind: Kind of the records (default: that of the first line).
        folder: Folder for temporary files (default: the system's).
    """
    rest = iter(lines)
    blank_count = 0
    first = b""
    for line in rest:
        if line.strip():
            first = line
            break
        blank_count += 1
    if kind is None:
        kind = detect_kind(first)
    # Blank lines count, but a file of nothing else must not fill the memory.
    everything = itertools.chain(itertools.repeat(b"\n", blank_count), [first], rest)
    ids = KeySpool(folder)
    is_empty = True
    try:
        for number, record in parse_records(SCHEMAS[kind], everything, errors):
            is_empty = False
            name = record.id or default_id(kind, number)
            ids.add(name, number)
            yield number, record if record.id else replace(record, id=name)
        for number, earlier in ids.repeats():
            errors.add(number, f"id: is that of line {earlier}, but must be unique")
    finally:
        ids.close()
    if is_empty and not errors.count:
        errors.add(1, f"there is no {_UNITS.get(kind, 'record')} in the input")


def default_id(kind: DatasetKind, line: int) -> str:
    """Return the id of a record without one; ``line`` counts from 1."""
    return f"{kind}-{line:06d}"


_UNITS = {DatasetKind.TRACE: "trace", DatasetKind.MESSAGES: "conversation"}


def parse_dataset(lines: Iterable[bytes], kind: DatasetKind | None = None) -> list[Record]:
    """Return the records of a small dataset; arguments as :func:`scan_records`.

    Raises:
        FormatError: Lines are wrong; every one is named.
    """
    errors = LineErrors()
    records = [record for _, record in scan_records(lines, errors, kind)]
    errors.raise_any()
    return records


class LazyRecords(Sequence[Record], ABC):
    """Records that are read when they are asked for."""

    @abstractmethod
    def read(self, index: int) -> Record:
        """Return the record at an index."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self.read(i) for i in range(*index.indices(len(self)))]
        return self.read(index)


class RecordFile(LazyRecords):
    """Records of a checked dataset file, parsed when they are asked for.

    Only the places of the lines are in memory: 16 bytes a record.
    """

    def __init__(self, path: Path, kind: DatasetKind | None = None) -> None:
        """Check every line.

        Args:
            path: File of the dataset.
            kind: Kind of the records (default: that of the first line).

        Raises:
            FormatError: Lines are wrong, as in :func:`scan_records`; every one is named.
            OSError: The file cannot be read.
        """
        self.path = path
        errors = LineErrors()
        self._offsets, self._lines = array("Q"), array("Q")
        with path.open("rb") as file:
            places = _Places(file)
            for number, _ in scan_records(places, errors, kind):
                self._offsets.append(places.start)
                self._lines.append(number)
        errors.raise_any()
        self._file = path.open("rb")
        self.kind = kind or detect_kind(self._line(0))
        """Kind of the records."""

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, index: int) -> Record:
        """Return the record at an index."""
        record = parse(SCHEMAS[self.kind], decode_line(self._line(index)))
        name = record.id or default_id(self.kind, self._lines[index])
        return record if record.id else replace(record, id=name)

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, index: int) -> bytes:
        self._file.seek(self._offsets[index])
        return self._file.readline()


class _Places:
    """Lines of a file, with the offset of the current one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.start = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in bounded_lines(self._file):
            yield line
            self.start = self._file.tell()
