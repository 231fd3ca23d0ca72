"""The record of a training, beside its model: metrics.jsonl and certificates.jsonl."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tailrace.formats.canonical import canonical_json
from tailrace.formats.certificate import CERTIFICATES, Certificate
from tailrace.formats.schema import to_mapping
from training.observer import EvalPoint, MetricPoint, Observer


class MetricsFile(Observer):
    """Writes the curve, one point a line, and the certificates of the states on it."""

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Start ``path`` and ``certificates.jsonl`` beside it; see :class:`StepLog`."""
        self._points = StepLog(path, resumed_step)
        self._certificates = StepLog(path.with_name(CERTIFICATES), resumed_step)

    def metric(self, point: MetricPoint) -> None:
        """Append one point; the metrics of the training method are keys of the line, too."""
        line = asdict(point)
        self._points.append(line | line.pop("metrics"))

    def evaluation(self, point: EvalPoint) -> None:
        """Append one evaluation."""
        self._points.append(asdict(point))

    def certificate(self, certificate: Certificate) -> None:
        """Append one certificate."""
        self._certificates.append(to_mapping(certificate))

    def close(self) -> None:
        """Close the files."""
        self._points.close()
        self._certificates.close()


class StepLog:
    """Appends records that have a ``step``, each flushed."""

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Start the file anew, or keep its records up to ``resumed_step``.

        Raises :class:`OSError`.
        """
        kept = _records_up_to(path, resumed_step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.writelines(kept)
        self._file.flush()

    def append(self, record: dict[str, Any]) -> None:
        """Append one record. Raises :class:`OSError`."""
        self._file.write(canonical_json(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _records_up_to(path: Path, step: int) -> list[str]:
    if step == 0 or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A process that was killed may have left half a line.
    return [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
