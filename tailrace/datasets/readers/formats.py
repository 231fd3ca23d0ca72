"""Recognition of a data file's format, by its content and its name."""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

from tailrace.datasets.readers.csv_table import read_csv
from tailrace.datasets.readers.json_text import read_json_array, read_json_lines
from tailrace.datasets.readers.parquet import read_parquet
from tailrace.datasets.readers.row import DataFileError, Row
from tailrace.datasets.readers.stream import open_text, unpacker
from tailrace.formats.data.file_kind import foreign_kind


class FileFormat(enum.StrEnum):
    """The format of a data file."""

    JSON_LINES = "JSON Lines"
    JSON_ARRAY = "a JSON array"
    CSV = "CSV"
    PARQUET = "Parquet"


PACKED_SUFFIXES = (".gz", ".zst", ".zstd")
"""Suffixes of packed text files."""

DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Suffixes of data files in a folder; text files may have a further one of a packed file."""

_TABLES = (".csv", ".tsv")
_TEXTS = (".txt", ".text", ".md")
_PARQUET = b"PAR1"
_PEEK_BYTES = 4096


def data_suffix(name: str) -> str:
    """Return a file name's suffix in lower case, without that of a packed file."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in PACKED_SUFFIXES else path.suffix


def file_format(path: Path) -> FileFormat:
    """Return the format of a data file.

    Text that begins with a bracket is a JSON array and text that begins with a brace JSON Lines,
    whatever the name; the names ``.csv`` and ``.tsv`` decide between tables and other text.

    Raises:
        DataFileError: The file is packed Parquet, plain text or damaged.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        beginning = file.read(_PEEK_BYTES)
    if beginning.startswith(_PARQUET):
        return FileFormat.PARQUET
    suffix = data_suffix(path.name)
    if suffix == ".parquet" and not unpacker(beginning):
        return FileFormat.PARQUET
    with open_text(path) as stream:
        text = stream.peek(_PEEK_BYTES)
    if text.startswith(_PARQUET):
        raise DataFileError("is a packed Parquet file: unpack it, since Parquet packs its columns")
    if suffix in _TABLES:
        return FileFormat.CSV
    if text.lstrip().startswith(b"["):
        return FileFormat.JSON_ARRAY
    kind = foreign_kind(text.split(b"\n", 1)[0])
    if kind and "(CSV)" in kind:
        return FileFormat.CSV
    beginning = text.lstrip()
    if suffix in _TEXTS and beginning and not beginning.startswith(b"{"):
        way_out = 'write a line of JSON for each text, as {"text": …}'
        raise DataFileError(f"is plain text, whose parts nothing tells apart: {way_out}")
    return FileFormat.JSON_LINES


def read_rows(path: Path, shard: str = "") -> Iterator[Row]:
    """Yield the rows of a data file of any format, in bounded memory.

    Args:
        path: The file.
        shard: Name of the file in places and errors, if it is one of several.

    Raises:
        DataFileError: The file as a whole cannot be read; the text begins with its name.
        OSError: The file cannot be read.
    """
    try:
        with closing(_rows(path)) as rows:
            for row in rows:
                row.file = shard
                yield row
    except DataFileError as error:
        raise DataFileError(f"{shard or path}: {error}") from error


def _rows(path: Path) -> Generator[Row, None, None]:
    if path.stat().st_size == 0:
        raise DataFileError("is empty")
    kind = file_format(path)
    if kind is FileFormat.PARQUET:
        yield from read_parquet(path)
        return
    read = {
        FileFormat.CSV: read_csv,
        FileFormat.JSON_ARRAY: read_json_array,
        FileFormat.JSON_LINES: read_json_lines,
    }[kind]
    with open_text(path) as stream:
        yield from read(stream)
