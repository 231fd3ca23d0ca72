"""The stage process: executes one job for a worker and reports events on a descriptor.

``python -m training.stage JOB --events-fd N``, with ``-`` for a job whose path comes later on
standard input; the contract is in :mod:`tailrace.formats.stage_protocol`. Only the standard library
and the formats are imported before the signal handlers are installed, so that no signal is lost
during the long import of JAX.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Signals that arrive before their handlers are pending, and do not kill the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.verdict import Verdict
from tailrace.formats.spec.run_spec import StageKind
from tailrace.formats.stage_protocol import (
    CheckpointEvent,
    ErrorEvent,
    Event,
    LogEvent,
    LogLevel,
    MetricEvent,
    PredictionEvent,
    ProgressEvent,
    ReferenceEvent,
    ReferenceRequestEvent,
    RolloutsEvent,
    StageJob,
    StoppedEvent,
    VerdictEvent,
    committed_mark,
    decode_job,
    encode_event,
)
from training.errors import ConfigError, StoppedError, TrainingError
from training.observer import (
    EVALUATION,
    EvalPoint,
    LoggingObserver,
    MetricPoint,
    Observer,
    Observers,
    Speed,
    StopRequest,
)
from training.stage.prewarm import Machine, await_job

CURVES = ("loss", "learning_rate", "epoch", *(field.name for field in dataclasses.fields(Speed)))
"""Fields of a metric point that become curves of a run."""


_COMMIT_POLL_SECONDS = 0.01
"""Interval of looking for the mark of committed rollouts."""


class EventStream:
    """Descriptor for events, one line each; any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="\n")
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Write one event and flush it.

        Raises:
            OSError: The worker is gone.
        """
        with self._lock:
            self._file.write(encode_event(event) + "\n")
            self._file.flush()


class StopSignals:
    """Signal handlers that record a request to stop; a cancel outweighs a release."""

    def __init__(self) -> None:
        self.request: StopRequest | None = None
        signal.signal(signal.SIGTERM, self._cancel)
        signal.signal(signal.SIGUSR1, self._release)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})

    def _cancel(self, *_: Any) -> None:
        self.request = StopRequest.CANCEL

    def _release(self, *_: Any) -> None:
        self.request = self.request or StopRequest.RELEASE


class EventObserver(Observer):
    """Observer that sends events, and requests a stop after a signal."""

    def __init__(self, events: EventStream, signals: StopSignals, output: Path) -> None:
        self._events = events
        self._signals = signals
        self._output = output

    def metric(self, point: MetricPoint) -> None:
        """Send one event for each curve."""
        for name in CURVES:
            value = getattr(point, name)
            if value is not None:
                self._events.send(MetricEvent(name, point.step, float(value), point.timestamp))
        for name, value in point.metrics.items():
            self._events.send(MetricEvent(name, point.step, value, point.timestamp))

    def evaluation(self, point: EvalPoint) -> None:
        """Send one point of the curve ``eval_loss``, and one for each metric."""
        figures = {"loss": point.eval_loss, **point.metrics}
        for name, value in figures.items():
            self._events.send(
                MetricEvent(f"{EVALUATION}{name}", point.step, value, point.timestamp)
            )

    def progress(self, done: int, total: int, unit: str) -> None:
        """Send it."""
        self._events.send(ProgressEvent(done, total, unit))

    def checkpoint(self, step: int, path: Path) -> None:
        """Send its path relative to the output folder."""
        self._events.send(CheckpointEvent(step, path.relative_to(self._output).as_posix()))

    def rollouts(self, step: int, path: Path) -> None:
        """Send the path relative to the output folder, and wait for the worker's mark."""
        relative = path.relative_to(self._output).as_posix()
        self._exchange(RolloutsEvent(step, relative), relative)

    def find_reference(self, key: str, path: Path) -> bool:
        """Send the request, and wait for the worker's mark."""
        relative = path.relative_to(self._output).as_posix()
        self._exchange(ReferenceRequestEvent(key, relative), relative)
        return path.is_file()

    def reference(self, key: str, path: Path) -> None:
        """Send the path relative to the output folder, and wait for the worker's mark."""
        relative = path.relative_to(self._output).as_posix()
        self._exchange(ReferenceEvent(key, relative), relative)

    def _exchange(self, event: Event, path: str) -> None:
        """Send an event about a file, and wait for the worker's mark of its path."""
        mark = self._output / committed_mark(path)
        mark.unlink(missing_ok=True)
        self._events.send(event)
        while not mark.exists():
            self.check_stop()
            time.sleep(_COMMIT_POLL_SECONDS)

    def prediction(self, prediction: Prediction) -> None:
        """Send it."""
        self._events.send(PredictionEvent(prediction))

    def verdict(self, verdict: Verdict) -> None:
        """Send it."""
        self._events.send(VerdictEvent(verdict))

    def stop_request(self) -> StopRequest | None:
        """Return the request of the signals so far."""
        return self._signals.request


class EventLogHandler(logging.Handler):
    """Logging handler that sends log events."""

    def __init__(self, events: EventStream) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(message)s"))
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; its level is rounded to one that events have."""
        levels = {logging.WARNING: LogLevel.WARNING, logging.INFO: LogLevel.INFO}
        level = levels.get(record.levelno, LogLevel.ERROR)
        if record.levelno < logging.INFO:
            level = LogLevel.DEBUG
        try:
            self._events.send(LogEvent(self.format(record), level))
        except OSError:
            self.handleError(record)


def execute(
    job: StageJob, events: EventStream, signals: StopSignals, applied: Machine | None = None
) -> None:
    """Run the job's stage and send its result; errors as :func:`.run_stage`.

    ``applied`` has the settings that this process has applied already.
    """
    machine = Machine.of(job)
    if applied is None:
        machine.apply()
    elif applied != machine:
        raise ConfigError(f"this process was prepared for {applied}, but the job needs {machine}")
    reporter = EventObserver(events, signals, Path(job.output_dir))
    observer = Observers(reporter, LoggingObserver())
    observer.check_stop()
    if job.kind is not StageKind.JUDGE:
        from training.machine.runtime import require_device

        require_device()
        observer.check_stop()
    from training.stage.kinds import run_stage

    events.send(run_stage(job, observer))


def describe_failure(error: BaseException) -> ErrorEvent:
    """Return the event for an error, with the error's reason or INTERNAL."""
    message = str(error) or type(error).__name__
    if isinstance(error, TrainingError):
        return ErrorEvent(error.reason, message, error.retryable)
    # XLA's error class is private, so the status code is read from the message.
    if isinstance(error, MemoryError) or message.startswith("RESOURCE_EXHAUSTED"):
        way_out = "lower train.batch_size or max_seq_length, or ask for a larger pool"
        return ErrorEvent("OUT_OF_MEMORY", f"{message[:2000]}: {way_out}")
    if isinstance(error, OSError):
        return ErrorEvent("IO_ERROR", message, retryable=True)
    return ErrorEvent("INTERNAL", f"{type(error).__name__}: {message[:2000]}")


def main(arguments: list[str] | None = None) -> int:
    """Run the stage process and return its exit status, as in the contract."""
    signals = StopSignals()
    parser = argparse.ArgumentParser(prog="python -m training.stage", description=__doc__)
    parser.add_argument(
        "job", type=Path, help="job file; -: its path comes later on standard input"
    )
    parser.add_argument("--events-fd", type=int, default=1, help="file descriptor for events")
    parser.add_argument("--threads", type=int, default=1, help="with -: CPU threads of the job")
    parser.add_argument("--cache-dir", type=Path, help="with -: compilation cache of the job")
    options = parser.parse_args(arguments)
    events = EventStream(options.events_fd)
    logging.basicConfig(level=logging.INFO, handlers=[EventLogHandler(events)], force=True)
    logging.captureWarnings(True)
    path, applied = options.job, None
    if str(path) == "-":
        applied = Machine(options.threads, options.cache_dir)
        path = await_job(applied)
        if path is None:
            return 0
    return run(path, events, signals, applied)


def run(path: Path, events: EventStream, signals: StopSignals, applied: Machine | None) -> int:
    """Execute a job file, report its end, and return the exit status."""
    try:
        job = decode_job(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        events.send(ErrorEvent("INVALID_JOB", f"{path}: {error}"))
        return 1
    try:
        execute(job, events, signals, applied)
    except StoppedError as stop:
        events.send(StoppedEvent(released=stop.released))
    except Exception as error:  # noqa: BLE001 - reported to the worker, with the trace in the log
        if not isinstance(error, TrainingError):
            traceback.print_exc()
        events.send(describe_failure(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
