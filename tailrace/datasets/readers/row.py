"""Rows of data files, and the errors of files and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EXTRA = 'pip install "tailrace[data]"'
"""Command that installs the libraries of the readers."""


class DataFileError(ValueError):
    """A file, folder or data set that cannot be read as a whole; the text names the way out."""


@dataclass(slots=True)
class Row:
    """One row of a data file."""

    number: int
    """Number in its file, counted from 1."""
    content: Any
    """The row as plain data; None if it cannot be read."""
    unit: str = "line"
    """Noun for the number: ``line`` (of the file), ``item`` (of an array) or ``row`` (of a table).
    """
    file: str = ""
    """Name of the shard; empty for a single file."""
    problem: str = ""
    """Reason why the row cannot be read."""
    raw: bytes = b""
    """The line as stored in the file, for JSON Lines."""
    size: int = 0
    """Number of bytes that the row has in a text file."""

    @property
    def place(self) -> str:
        """Place of the row in the user's file: ``line 17``, ``train-00001.jsonl line 17``."""
        place = f"{self.unit} {self.number}"
        return f"{self.file} {place}" if self.file else place


def missing_library(error: ModuleNotFoundError, task: str) -> DataFileError:
    """Return the error for a library of the extra ``data`` that is not installed."""
    return DataFileError(f"{task} needs {error.name}, which is not installed: {EXTRA}")
