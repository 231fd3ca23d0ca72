"""Content of datasets: lines of a version on the server, or of a file on this machine."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

from tailrace.client.blocking import Client
from tailrace.formats.data.jsonl import MAX_LINE_BYTES, file_lines
from tailrace.formats.resource_id import VERSIONED_ID

_NAME = re.compile(rf"(datasets/)?{VERSIONED_ID}")


class DatasetError(ValueError):
    """A dataset that cannot be read, measured or derived; the message has the way out."""


@contextmanager
def open_lines(client: Client, source: str) -> Iterator[Iterator[bytes]]:
    """Open the lines of a file of this machine if one has the path, else of a dataset version.

    A caller may stop early: the server then stops sending.

    Raises:
        DatasetError: ``source`` is neither a file nor the name of a dataset.
        TailraceError: There is no such dataset or version, or a call failed.
        OSError: The file cannot be read.
    """
    if Path(source).is_file():
        with closing(cast("Generator[bytes, None, None]", file_lines(Path(source)))) as lines:
            yield lines
        return
    if not _NAME.fullmatch(source):
        raise DatasetError(
            f"{source!r} is neither a file here nor the name of a dataset: must be the path of a "
            "JSON Lines file, `name` or `name@version`"
        )
    with stored_lines(client, source) as lines:
        yield lines


@contextmanager
def stored_lines(client: Client, name: str) -> Iterator[Iterator[bytes]]:
    """Open the lines of a dataset version on the server; errors as :func:`open_lines`."""
    with closing(cast("Generator[bytes, None, None]", client.export_dataset(name))) as chunks:
        yield split_lines(chunks)


@contextmanager
def local_file(client: Client, source: str, max_lines: int | None = None) -> Iterator[Path]:
    """Provide the content of a dataset as a file: the file itself, or a temporary copy.

    Args:
        client: Client of the server.
        source: As for :func:`open_lines`.
        max_lines: Maximum number of lines of the file (default: all).

    Raises:
        DatasetError: As :func:`open_lines`.
        TailraceError: As :func:`open_lines`.
        OSError: The content cannot be read or written.
    """
    if max_lines is None and Path(source).is_file():
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="tailrace-dataset-") as folder:
        copy = Path(folder) / "dataset.jsonl"
        with open_lines(client, source) as lines:
            _write(copy, lines, max_lines)
        yield copy


@contextmanager
def stored_file(client: Client, name: str, max_lines: int) -> Iterator[Path]:
    """Provide the first lines of a dataset version as a temporary file; errors as local_file."""
    with tempfile.TemporaryDirectory(prefix="tailrace-dataset-") as folder:
        copy = Path(folder) / "dataset.jsonl"
        with stored_lines(client, name) as lines:
            _write(copy, lines, max_lines)
        yield copy


def _write(copy: Path, lines: Iterable[bytes], max_lines: int | None) -> None:
    with copy.open("wb") as file:
        file.writelines(islice(lines, max_lines))


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream of chunks, each cut just above :data:`MAX_LINE_BYTES`."""
    line = bytearray()
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            _append(line, end + b"\n")
            yield bytes(line)
            line.clear()
        _append(line, rest)
    if line:
        yield bytes(line)


def _append(line: bytearray, piece: bytes) -> None:
    # The line will be refused once it is too long: what follows need not be held.
    line += piece[: MAX_LINE_BYTES + 1 - len(line)]
