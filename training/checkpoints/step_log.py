"""JSON Lines files that grow by steps: they can be followed live and continued after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailrace.formats.canonical import canonical_json


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
