"""Check that a followed log arrived complete: every line once, in order, unchanged."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.errors import DataLoss
from tailrace.formats.canonical import extend_chain
from tailrace.v1 import run_pb2


@dataclass
class _Seen:
    """Received part of one attempt's log."""

    lines: int = 0
    digest: bytes = b""


class LogCheck:
    """Comparison of each attempt's lines with its end marker.

    It fits streams that begin at the start and leave out no line. An attempt without an end marker
    (its run has not ended) is checked for gaps alone.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], _Seen] = {}

    def add(self, batch: run_pb2.StreamLogsResponse) -> None:
        """Check a batch against those before it.

        Raises:
            DataLoss: Lines are missing, repeated or changed.
        """
        where = f"log of stage {batch.stage}, attempt {batch.attempt}"
        seen = self._attempts.setdefault((batch.stage, batch.attempt), _Seen())
        for line in batch.lines:
            if line.sequence != seen.lines + 1:
                raise DataLoss(f"{where}: line {line.sequence} came after line {seen.lines}")
            seen.lines = line.sequence
        seen.digest = extend_chain(seen.digest, (line.text.encode() for line in batch.lines))
        if not batch.HasField("end"):
            return
        if batch.end.line_count != seen.lines:
            raise DataLoss(f"{where}: {seen.lines} of {batch.end.line_count} lines came")
        if batch.end.digest != seen.digest.hex():
            raise DataLoss(f"{where}: its {seen.lines} lines do not match the store's digest")
