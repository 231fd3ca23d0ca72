"""Files of predictions, and where an evaluation puts them."""

from __future__ import annotations

import itertools
from pathlib import Path

from tailrace.formats.data.jsonl import FormatError, decode_line, file_lines, read_records
from tailrace.formats.data.prediction import Prediction
from training.errors import DataError


def predictions_beside(traces: Path) -> Path:
    """Where predictions go by default: ``name.jsonl`` to ``name.predictions.jsonl``."""
    return traces.with_name(f"{traces.stem}.predictions.jsonl")


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file.

    Raises :class:`training.errors.DataError` naming lines that are not predictions, or where the
    predictions lie when the file holds the traces that an evaluation writes with them.
    """
    try:
        return read_records(Prediction, path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except FormatError as error:
        if _holds_traces(path):
            raise DataError(f"{path} holds traces, not predictions: {_way_out(path)}") from error
        raise DataError(f"{path}: {error}") from error


def _holds_traces(path: Path) -> bool:
    """Whether the first line looks like a trace."""
    try:
        for line in itertools.islice(file_lines(path), 1):
            found = decode_line(line)
            return isinstance(found, dict) and {"prompt", "steps", "answer"} <= found.keys()
    except ValueError:
        pass
    return False


def _way_out(traces: Path) -> str:
    # A training and a run call theirs predictions.jsonl.
    for path in (predictions_beside(traces), traces.with_name("predictions.jsonl")):
        if path.is_file():
            return f"they are in {path}"
    return f"an evaluation writes those to {predictions_beside(traces)}, if not told otherwise"
