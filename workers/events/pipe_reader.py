"""Reads what the stage process writes: event lines on one pipe, stdout and stderr on another."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tailrace.formats.limits import MAX_LINE_BYTES
from tailrace.formats.stage_protocol import (
    CheckpointEvent,
    ErrorEvent,
    LogEvent,
    LogLevel,
    ResultEvent,
    StoppedEvent,
    decode_event,
)
from workers.events.attempt_log import AttemptLog
from workers.events.lines import PARTIAL_SECONDS, printable, read_lines
from workers.events.messages import stage_event
from workers.events.spool import Spool, SpoolClosedError
from workers.process.stage_process import StageProcess

FinalEvent = ResultEvent | StoppedEvent | ErrorEvent
"""The events that end an attempt."""

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Longest event line; the longest prediction, escaped, fits."""


@dataclass
class StageReport:
    """What the stage process said beside its log, metrics and the like."""

    final_event: FinalEvent | None = None
    """Its last word; None when it ended without one."""
    violation: str = ""
    """What was wrong with an event line, if one was."""


class PipeReader:
    """Two reading threads that turn lines into spooled events until both pipes end."""

    def __init__(
        self,
        process: StageProcess,
        spool: Spool,
        attempt_log: AttemptLog,
        on_checkpoint: Callable[[CheckpointEvent], None],
        on_fault: Callable[[str], None],
    ) -> None:
        """Start reading.

        Args:
            process: Whose pipes are read, and closed at their end.
            spool: Takes the events; when it is full reading waits.
            attempt_log: Takes the log lines, into the same spool.
            on_checkpoint: Called in a reading thread for each checkpoint; must not block for long.
            on_fault: Called in a reading thread that cannot go on, with the reason.
        """
        self.report = StageReport()
        self._spool = spool
        self._attempt_log = attempt_log
        self._on_checkpoint = on_checkpoint
        self._on_fault = on_fault
        self._threads = [
            threading.Thread(target=self._read, args=(process.events, self._events), daemon=True),
            threading.Thread(target=self._read, args=(process.output, self._output), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def join(self, give_up: Callable[[], bool]) -> bool:
        """Wait until all that was written is spooled; False when ``give_up()`` came first."""
        for thread in self._threads:
            while thread.is_alive():
                if give_up():
                    return False
                thread.join(0.1)
        return True

    def _read(self, descriptor: int, consume: Callable[[int], None]) -> None:
        try:
            # A closed spool means that nobody wants the rest; the writer gets SIGPIPE.
            with contextlib.suppress(SpoolClosedError):
                consume(descriptor)
        except BaseException as error:
            self._on_fault(f"the stage process can no longer be read: {error}")
            raise
        finally:
            os.close(descriptor)

    def _output(self, descriptor: int) -> None:
        for raw, cut in read_lines(descriptor, 8 * MAX_LINE_BYTES, partial_seconds=PARTIAL_SECONDS):
            self._attempt_log.write_raw(raw, cut=cut)

    def _events(self, descriptor: int) -> None:
        for raw, cut in read_lines(descriptor, MAX_EVENT_BYTES):
            if cut:
                self._report_violation(f"is longer than {MAX_EVENT_BYTES} bytes", raw)
                continue
            try:
                event = decode_event(raw.decode("utf-8"))
            except ValueError as error:
                self._report_violation(str(error), raw)
                continue
            if isinstance(event, LogEvent):
                self._attempt_log.write(event.text, event.level)
            elif isinstance(event, CheckpointEvent):
                self._on_checkpoint(event)
            elif isinstance(event, FinalEvent):
                self.report.final_event = event
            else:
                self._spool.append(stage_event(event))

    def _report_violation(self, problem: str, raw: bytes) -> None:
        self.report.violation = self.report.violation or f"an event line {problem}"
        shown = printable(raw[:200])
        self._attempt_log.write(f"unreadable event line ({problem}): {shown}", LogLevel.ERROR)
