"""Reader of the stage process's pipes: event lines on one, stdout and stderr on the other."""

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
    ExchangeEvent,
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
"""Event that ends an attempt."""

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Longest event line, in which the longest prediction fits with escapes."""


@dataclass
class StageReport:
    """Final event of the stage process, and its violations of the protocol."""

    final_event: FinalEvent | None = None
    """Final event; ``None`` if the process ended without one."""
    violation: str = ""
    """Problem of the first invalid event line; empty if all were valid."""


class PipeReader:
    """Two threads that turn lines into spooled events until both pipes end."""

    def __init__(
        self,
        process: StageProcess,
        spool: Spool,
        attempt_log: AttemptLog,
        on_checkpoint: Callable[[CheckpointEvent], None],
        on_exchange: Callable[[ExchangeEvent], None],
        on_fault: Callable[[str], None],
    ) -> None:
        """Start reading.

        Args:
            process: Process whose pipes are read, and closed at their end.
            spool: Queue of the events; reading waits while it is full.
            attempt_log: Log for the lines, with the same spool.
            on_checkpoint: Callback for each checkpoint, in a reading thread; must not block for
                long.
            on_exchange: The same for events that the process waits for an answer to.
            on_fault: Callback with the reason why a reading thread cannot continue.
        """
        self.report = StageReport()
        self._spool = spool
        self._attempt_log = attempt_log
        self._on_checkpoint = on_checkpoint
        self._on_exchange = on_exchange
        self._on_fault = on_fault
        self._threads = [
            threading.Thread(target=self._read, args=(process.events, self._events), daemon=True),
            threading.Thread(target=self._read, args=(process.output, self._output), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def join(self, give_up: Callable[[], bool]) -> bool:
        """Wait until all output is spooled; return False if ``give_up()`` came first."""
        for thread in self._threads:
            while thread.is_alive():
                if give_up():
                    return False
                thread.join(0.1)
        return True

    def _read(self, descriptor: int, consume: Callable[[int], None]) -> None:
        try:
            # A closed spool means that the rest is not needed; the writer gets SIGPIPE.
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
            elif isinstance(event, ExchangeEvent):
                self._on_exchange(event)
            elif isinstance(event, FinalEvent):
                self.report.final_event = event
            else:
                self._spool.append(stage_event(event))

    def _report_violation(self, problem: str, raw: bytes) -> None:
        self.report.violation = self.report.violation or f"an event line {problem}"
        excerpt = printable(raw[:200])
        self._attempt_log.write(f"unreadable event line ({problem}): {excerpt}", LogLevel.ERROR)
