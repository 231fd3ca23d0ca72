"""Check that a followed log arrived complete: every line once, in order, unchanged."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.errors import DataLoss
from tailrace.formats.canonical import extend_chain
from tailrace.v1 import run_pb2


@dataclass
class _ReceivedLog:
    """Received part of one attempt's log."""

    lines: int = 0
    digest: bytes = b""


class LogCheck:
    """Comparison of each attempt's lines with its end marker.

    It fits streams that begin at the start and leave out no line. An attempt without an end marker
    (its run has not ended) is checked for gaps alone.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], _ReceivedLog] = {}

    def add(self, batch: run_pb2.StreamLogsResponse) -> None:
        """Check a batch against those before it.

        Raises:
            DataLoss: Lines are missing, repeated or changed.
        """
        title = f"log of stage {batch.stage}, attempt {batch.attempt}"
        log = self._attempts.setdefault((batch.stage, batch.attempt), _ReceivedLog())
        for line in batch.lines:
            if line.sequence != log.lines + 1:
                raise DataLoss(f"{title}: line {line.sequence} came after line {log.lines}")
            log.lines = line.sequence
        log.digest = extend_chain(log.digest, (line.text.encode() for line in batch.lines))
        if not batch.HasField("end"):
            return
        if batch.end.line_count != log.lines:
            raise DataLoss(f"{title}: {log.lines} of {batch.end.line_count} lines arrived")
        if batch.end.digest != log.digest.hex():
            raise DataLoss(f"{title}: its {log.lines} lines do not match the store's digest")
