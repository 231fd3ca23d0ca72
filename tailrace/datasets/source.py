"""Sources of an import: a file, a split of a folder, or a split of a data set on the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tailrace.datasets import hub
from tailrace.datasets.layout import CARD, MAX_CARD_BYTES, MAX_FILES, choose_split, find_splits
from tailrace.datasets.readers.formats import FileFormat, file_format, read_rows
from tailrace.datasets.readers.row import DataFileError, Row
from tailrace.formats.wording import pluralize

_SHOWN = 5


@dataclass(frozen=True)
class Shard:
    """One file of a source."""

    path: Path
    name: str
    """Name in places of rows; empty for a single file."""


@dataclass(frozen=True)
class Source:
    """Files whose rows are read one after the other."""

    shards: tuple[Shard, ...]
    title: str
    """The source with its split, for people."""
    origin: str = ""
    """Address and commit of a data set on the hub; empty for local files."""
    left_out: tuple[str, ...] = ()
    """Data files of the folder that belong to no split."""

    def format(self) -> FileFormat:
        """Return the format of the first file.

        Raises:
            DataFileError: The file is damaged.
            OSError: The file cannot be read.
        """
        shard = self.shards[0]
        try:
            return file_format(shard.path)
        except DataFileError as error:
            raise DataFileError(f"{shard.name or shard.path}: {error}") from error

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all files.

        Raises:
            DataFileError: A file as a whole cannot be read.
            OSError: A file cannot be read.
        """
        for shard in self.shards:
            yield from read_rows(shard.path, shard.name)


def open_source(source: str | Path, workspace: Path, split: str | None = None) -> Source:
    """Return the files of a source; a data set on the hub is downloaded first.

    Args:
        source: Path of a file or folder, or ``hf://datasets/ORG/NAME[@REVISION][/PATH]``.
        workspace: Empty folder for downloads.
        split: Name of the split (default: the only one).

    Raises:
        DataFileError: The split is missing or ambiguous, or the data set cannot be read.
        OSError: A file cannot be read.
    """
    if str(source).startswith(hub.SCHEME):
        return _open_hub(str(source), workspace, split)
    path = Path(source)
    if not path.is_dir():
        if split is not None:
            raise DataFileError(f"{path}: is a file, which has no splits: leave out --split")
        _require_regular(path)
        return Source((Shard(path, ""),), str(path))
    try:
        chosen = choose_split(find_splits(_files(path), _read_card(path)), split)
    except DataFileError as error:
        raise DataFileError(f"{path}: {error}") from error
    shards = tuple(Shard(path / name, name) for name in chosen.files)
    for shard in shards:
        _require_regular(shard.path)
    title = f"{path}, split {chosen.full_name} ({pluralize(len(shards), 'file')})"
    return Source(shards, title, left_out=chosen.unassigned)


def _require_regular(path: Path) -> None:
    """Raise :class:`DataFileError` for a pipe or a device, which may never end."""
    if path.exists() and not path.is_file():
        raise DataFileError(
            f"{path}: is a pipe or a device, but rows are read twice: write its content to a file"
        )


def _open_hub(url: str, workspace: Path, split: str | None) -> Source:
    download = hub.download(hub.parse_url(url), workspace, split)
    shards = tuple(
        Shard(path, name if len(download.files) > 1 else "") for name, path in download.files
    )
    title = f"{download.origin}, split {download.split} ({pluralize(len(shards), 'file')})"
    return Source(shards, title, download.origin, download.left_out)


def _read_card(folder: Path) -> str:
    try:
        with (folder / CARD).open("rb") as file:
            return file.read(2 * MAX_CARD_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _files(folder: Path) -> list[str]:
    """Return the paths of a folder's files below it.

    Raises:
        DataFileError: There are too many, or a link leads out of the folder.
        OSError: The folder cannot be read.
    """
    paths = []
    roots = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        # A snapshot of a Hugging Face cache has links to the files of its repository.
        roots.append(folder.resolve().parent.parent / "blobs")
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            file = Path(parent, name)
            if not any(file.resolve().is_relative_to(root) for root in roots):
                raise DataFileError(
                    f"has a link that leads out of the folder ({file.relative_to(folder)}): put a "
                    "copy in its place, or remove it"
                )
            paths.append(file.relative_to(folder).as_posix())
            if len(paths) > MAX_FILES:
                raise DataFileError(f"has more than {MAX_FILES} files: give one of them")
    return paths


def _raise(error: OSError) -> None:
    raise error


def describe_left_out(source: Source) -> str:
    """Return a sentence about files that belong to no split; empty if there are none."""
    if not source.left_out:
        return ""
    more = len(source.left_out) - _SHOWN
    names = ", ".join(source.left_out[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"not part of a split, left out: {names}"
