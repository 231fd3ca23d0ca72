"""The record of a training: metrics.jsonl and certificates.jsonl, next to the model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tailrace.formats.canonical import canonical_json
from tailrace.formats.certificate import CERTIFICATES, Certificate
from tailrace.formats.schema import to_mapping
from training.observer import EVALUATION, EvalPoint, MetricPoint, Observer


class MetricsFile(Observer):
    """Writer of the curve, a line for each point, and of certificates."""

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Open ``path``, and ``certificates.jsonl`` next to it; see :class:`StepLog`."""
        self._points = StepLog(path, resumed_step)
        self._certificates = StepLog(path.with_name(CERTIFICATES), resumed_step)

    def metric(self, point: MetricPoint) -> None:
        """Append one point; the metrics of the training method are keys of the line, too."""
        line = asdict(point)
        self._points.append(line | line.pop("metrics"))

    def evaluation(self, point: EvalPoint) -> None:
        """Append one evaluation; its metrics are keys of the line, with the prefix `eval_`."""
        line = asdict(point)
        metrics = {f"{EVALUATION}{name}": value for name, value in line.pop("metrics").items()}
        self._points.append(line | metrics)

    def certificate(self, certificate: Certificate) -> None:
        """Append one certificate."""
        self._certificates.append(to_mapping(certificate))

    def close(self) -> None:
        """Close the files."""
        self._points.close()
        self._certificates.close()


class StepLog:
    """JSON Lines file of records with a ``step``, flushed after each.

    The file can be followed live, and continued by a resumed training.
    """

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Open the file, empty but for its records up to ``resumed_step``.

        Raises:
            OSError: The file cannot be written.
        """
        lines = _records_up_to(path, resumed_step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.writelines(lines)
        self._file.flush()

    def append(self, record: dict[str, Any]) -> None:
        """Append one record.

        Raises:
            OSError: The file cannot be written.
        """
        self._file.write(canonical_json(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _records_up_to(path: Path, step: int) -> list[str]:
    if step == 0 or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A killed process may have left an incomplete line.
    return [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
