"""metrics.jsonl: the curve of a training, one point a line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tailrace.formats.canonical import canonical_json
from training.observer import MetricPoint, Observer


class MetricsFile(Observer):
    """Appends metric points to a file, each flushed, so that it can be followed live."""

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Start the file anew, or keep its points up to ``resumed_step``.

        Raises :class:`OSError`.
        """
        kept = _points_up_to(path, resumed_step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.writelines(kept)
        self._file.flush()

    def metric(self, point: MetricPoint) -> None:
        """Append one point."""
        self._file.write(canonical_json(asdict(point)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _points_up_to(path: Path, step: int) -> list[str]:
    if step == 0 or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A process that was killed may have left half a line.
    return [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
