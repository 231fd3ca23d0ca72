"""Prewarmed stage processes: a slot's next process, started early to do its imports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from workers.events.lines import printable
from workers.process.stage_process import StageProcess

REFILL_SECONDS = 5.0
"""Delay between the start of a stage and that of the next process, unless the stage ends before:
its imports would compete with the start of the stage for the slot's cores."""

_OUTPUT_BYTES = 65_536

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Launch:
    """Parameters of a process's start; processes of equal launches differ only in the job."""

    command: tuple[str, ...]
    """Program and arguments without the job."""
    environment: Mapping[str, str]
    """Complete environment of the process."""
    cores: tuple[int, ...]
    """CPU cores that the process is pinned to."""
    cache_dir: Path
    """Folder of cached compiled programs."""
    hidden: tuple[Path, ...] = ()
    """Files and folders with credentials, which are empty for the process if the system allows
    it."""

    def start(self, job: Path, standard_input: bytes = b"") -> StageProcess:
        """Start a process with its job, in the job file's folder; may raise :class:`OSError`."""
        return StageProcess(
            [*self.command, str(job)],
            environment=self.environment,
            cores=self.cores,
            folder=job.parent,
            standard_input=standard_input,
            hidden=self.hidden,
        )

    def start_waiting(self, folder: Path) -> StageProcess:
        """Start a process that waits for its job in ``folder``; may raise :class:`OSError`."""
        options = ["--threads", str(len(self.cores)), "--cache-dir", str(self.cache_dir)]
        return StageProcess(
            [*self.command, "-", *options],
            environment=self.environment,
            cores=self.cores,
            folder=folder,
            waiting=True,
            hidden=self.hidden,
        )


class Prewarmer:
    """Keeper of at most one prewarmed process, for one job. Use it from one main thread only.

    A prewarmed process serves only the launch that it was started with: its environment cannot be
    changed any more.
    """

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        """Let processes wait in ``folder``; never start one unless ``enabled``."""
        self._folder = folder
        self._enabled = enabled
        self._waiting: tuple[Launch, StageProcess] | None = None

    def refill(self, launch: Launch) -> None:
        """Start a process for the next job, unless one is waiting already."""
        if not self._enabled or self._waiting is not None:
            return
        try:
            self._waiting = launch, launch.start_waiting(self._folder)
        except OSError as error:
            _log.warning("cannot prewarm a stage process", error=str(error))

    def start(self, launch: Launch, job: Path) -> StageProcess:
        """Give the job to the prewarmed process, or to a new one if that does not fit.

        Raises:
            OSError: A new process cannot be started.
        """
        process, reason = self._take(launch, job)
        if process is not None:
            _log.info("warm start", pid=process.pid)
            return process
        if self._enabled:
            _log.info("cold start", reason=reason)
        return launch.start(job)

    def close(self) -> None:
        """End the prewarmed process."""
        if self._waiting is not None:
            _, process = self._waiting
            self._waiting = None
            _end(process)

    def _take(self, launch: Launch, job: Path) -> tuple[StageProcess | None, str]:
        """Return the prewarmed process with its job, or the reason why there is none."""
        if self._waiting is None:
            return None, "there is no prewarmed process"
        (own_launch, process), self._waiting = self._waiting, None
        if process.has_ended():
            last_line = _end(process)
            _log.warning(
                "a prewarmed stage process ended", status=process.finish(), output=last_line
            )
            return None, "the prewarmed process had ended"
        if own_launch != launch:
            _end(process)
            return None, "the prewarmed process has other threads or another environment"
        try:
            process.give(job)
        except OSError as error:
            _end(process)
            return None, f"the prewarmed process did not accept the job: {error}"
        return process, ""


def _end(process: StageProcess) -> str:
    """Kill and reap a process that has no reader yet; return the last line that it printed."""
    process.finish()
    os.set_blocking(process.output, False)
    try:
        output = os.read(process.output, _OUTPUT_BYTES)
    except BlockingIOError:  # nothing was printed, and a stray child still holds the pipe
        output = b""
    finally:
        os.close(process.output)
        os.close(process.events)
    return printable(output.rstrip().rpartition(b"\n")[2])
