"""Datasets on the caller's machine: rows of other tools, statistics, derivation from a run."""

from __future__ import annotations

from tailrace.datasets.importing import Conversion, WrongRows, convert_file
from tailrace.datasets.readers.row import DataFileError

__all__ = ["Conversion", "DataFileError", "WrongRows", "convert_file"]
