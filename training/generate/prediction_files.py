"""Files of predictions, and their default paths."""

from __future__ import annotations

import itertools
from pathlib import Path

from tailrace.formats.data.jsonl import FormatError, decode_line, file_lines, read_records
from tailrace.formats.data.prediction import Prediction
from training.errors import DataError


def predictions_path_for(traces: Path) -> Path:
    """Return the default path of predictions: ``name.predictions.jsonl`` for ``name.jsonl``."""
    return traces.with_name(f"{traces.stem}.predictions.jsonl")


def read_predictions(path: Path) -> list[Prediction]:
    """Read the predictions of a file.

    Raises:
        DataError: Lines are not predictions (the message names them), or the file holds the traces
            that an evaluation writes (the message names the file of predictions).
    """
    try:
        return read_records(Prediction, path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except FormatError as error:
        if _holds_traces(path):
            raise DataError(f"{path} holds traces, not predictions: {_way_out(path)}") from error
        raise DataError(f"{path}: {error}") from error


def _holds_traces(path: Path) -> bool:
    """Return True if the first line looks like a trace."""
    try:
        for line in itertools.islice(file_lines(path), 1):
            record = decode_line(line)
            return isinstance(record, dict) and {"prompt", "steps", "answer"} <= record.keys()
    except ValueError:
        pass
    return False


def _way_out(traces: Path) -> str:
    # A training and a run name theirs predictions.jsonl.
    for path in (predictions_path_for(traces), traces.with_name("predictions.jsonl")):
        if path.is_file():
            return f"they are in {path}"
    return f"an evaluation writes them to {predictions_path_for(traces)} by default"
