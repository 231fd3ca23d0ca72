"""The stage process in waiting: a slot's next one, which has its imports behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from workers.events.lines import printable
from workers.process.stage_process import StageProcess

REFILL_SECONDS = 5.0
"""How long after a stage's start the next process is started, if the stage does not end before:
its imports would compete with the stage's own start for the slot's cores."""

_OUTPUT_BYTES = 65_536

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Launch:
    """How a stage process is started. Processes of equal launches differ in nothing but the job."""

    command: tuple[str, ...]
    """The program, without its job."""
    environment: Mapping[str, str]
    """Its whole environment."""
    cores: tuple[int, ...]
    """CPU cores it is pinned to."""
    cache_dir: Path
    """Where it keeps compiled programs."""
    hidden: tuple[Path, ...] = ()
    """Files and folders with credentials, which it finds empty where the system allows that."""

    def start(self, job: Path, standard_input: bytes = b"") -> StageProcess:
        """Start a process with its job, in the job file's folder; raises :class:`OSError`."""
        return StageProcess(
            [*self.command, str(job)],
            environment=self.environment,
            cores=self.cores,
            folder=job.parent,
            standard_input=standard_input,
            hidden=self.hidden,
        )

    def start_waiting(self, folder: Path) -> StageProcess:
        """Start a process that waits for its job in ``folder``; raises :class:`OSError`."""
        settled = ["--threads", str(len(self.cores)), "--cache-dir", str(self.cache_dir)]
        return StageProcess(
            [*self.command, "-", *settled],
            environment=self.environment,
            cores=self.cores,
            folder=folder,
            waiting=True,
            hidden=self.hidden,
        )


class Prewarmer:
    """At most one process in waiting, for one job. To be used from one main thread.

    It is given out only for the launch that it was made with: nothing of an attempt's environment
    is changed after the start of a process.
    """

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        """``folder`` is where a process waits; one that is not ``enabled`` is always empty."""
        self._folder = folder
        self._enabled = enabled
        self._waiting: tuple[Launch, StageProcess] | None = None

    def refill(self, launch: Launch) -> None:
        """Start a process for the next job, unless there is one already."""
        if not self._enabled or self._waiting is not None:
            return
        try:
            self._waiting = launch, launch.start_waiting(self._folder)
        except OSError as error:
            _log.warning("no stage process in waiting", error=str(error))

    def start(self, launch: Launch, job: Path) -> StageProcess:
        """The process in waiting, given its job; a fresh one where none fits, which is logged.

        Raises :class:`OSError` when a fresh one cannot be started.
        """
        process, why = self._take(launch, job)
        if process is not None:
            _log.info("warm start", pid=process.pid)
            return process
        if self._enabled:
            _log.info("cold start", reason=why)
        return launch.start(job)

    def close(self) -> None:
        """End the process in waiting."""
        if self._waiting is not None:
            _, process = self._waiting
            self._waiting = None
            _end(process)

    def _take(self, launch: Launch, job: Path) -> tuple[StageProcess | None, str]:
        """The process, or why there is none."""
        if self._waiting is None:
            return None, "no process is in waiting"
        (made, process), self._waiting = self._waiting, None
        if process.has_ended():
            words = _end(process)
            _log.warning("a stage process ended in waiting", status=process.finish(), output=words)
            return None, "the process in waiting had ended"
        if made != launch:
            _end(process)
            return None, "the process in waiting has other threads or another environment"
        try:
            process.give(job)
        except OSError as error:
            _end(process)
            return None, f"the process in waiting took no job: {error}"
        return process, ""


def _end(process: StageProcess) -> str:
    """Kill and reap a process that nobody reads; returns the last line that it printed."""
    process.finish()
    os.set_blocking(process.output, False)
    try:
        words = os.read(process.output, _OUTPUT_BYTES)
    except BlockingIOError:  # nothing was printed, and a stray child still holds the pipe
        words = b""
    finally:
        os.close(process.output)
        os.close(process.events)
    return printable(words.rstrip().rpartition(b"\n")[2])
