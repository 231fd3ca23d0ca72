"""The record of a training, beside its model: metrics.jsonl and certificates.jsonl."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tailrace.formats.certificate import CERTIFICATES, Certificate
from tailrace.formats.schema import to_mapping
from training.checkpoints.step_log import StepLog
from training.observer import EvalPoint, MetricPoint, Observer


class MetricsFile(Observer):
    """Writes the curve, one point a line, and the certificates of the states on it."""

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Start ``path`` and ``certificates.jsonl`` beside it; see :class:`StepLog`."""
        self._points = StepLog(path, resumed_step)
        self._certificates = StepLog(path.with_name(CERTIFICATES), resumed_step)

    def metric(self, point: MetricPoint) -> None:
        """Append one point."""
        self._points.append(asdict(point))

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
