"""Datasets of the commands: their files and splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tailrace.formats.data import golden
from tailrace.formats.data.dataset_file import RecordFile
from tailrace.formats.data.jsonl import FormatError
from tailrace.formats.data.record import Record
from tailrace.formats.data.split import Split
from training.errors import DataError

FILE = "dataset.jsonl"
"""Name of the file with the records in a dataset folder."""


def find_dataset(choice: str, datasets: Path = Path("datasets")) -> Path:
    """Return the file of a dataset given by file, by folder, or by its name under ``datasets``.

    Raises:
        DataError: There is no such dataset; the error says how to get it.
    """
    for path in (Path(choice), Path(choice) / FILE, datasets / choice / FILE):
        if path.is_file():
            return path
    way_out = (
        f"make it with `tailrace datasets seed {choice} --output {datasets}`"
        if choice == golden.NAME
        else f"give a JSON Lines file, a folder with {FILE}, or a name under {datasets}/"
    )
    raise DataError(f"there is no dataset {choice!r}: {way_out}")


def load_split(records: Sequence[Record], path: Path | None) -> Split:
    """Return the dataset in the split of a split.json; without one, all of it is the train part.

    Raises:
        DataError: The file is missing, or belongs to another dataset.
    """
    if path is None:
        return Split(train=records, held_out=[], eval_fraction=0.0, split_seed=0)
    try:
        return Split.load(records, path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def load_dataset(path: Path) -> RecordFile:
    """Return the records of a file.

    Raises:
        DataError: Lines are invalid; the error names all of them.
    """
    try:
        return RecordFile(path)
    except FormatError as error:
        raise DataError(f"{path}: {error}") from error
