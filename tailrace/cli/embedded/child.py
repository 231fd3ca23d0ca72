"""Child process of the embedded stack, with its output in a file."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tailrace import launcher
from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.show.log_lines import last_words

T = TypeVar("T")

MAX_LOG_BYTES = 10 * 1024 * 1024
"""Size from which a process's log is rotated."""

OLD_LOGS = 3
"""Rotated logs that are kept of a process."""

_POLL_SECONDS = 0.05
_TAIL_BYTES = 16 * 1024


class Child:
    """Child process in a separate session, so that Ctrl-C reaches only this process.

    It is killed when this process dies without having stopped it: a clean end would need the other
    processes of the stack, which end as well. Start it from the main thread.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        grace: float,
        cores: Sequence[int] = (),
    ) -> None:
        self.name = name
        """Name in messages: ``control plane``."""
        self.log = log
        """File to which its output is appended; older output is in ``LOG.1``, ``LOG.2`` …"""
        self._grace = grace
        self._asked = False
        self._log_start = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        self.rotate_log()
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                launcher.command(signal.SIGKILL, argv, cores),
                # Unbuffered: output must reach the file at once.
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, also of its session and group."""
        return self._process.pid

    @property
    def end(self) -> str | None:
        """Ending (``exit status 1``, ``killed by SIGKILL``); ``None`` while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"

    @property
    def ended_well(self) -> bool:
        """True once it has ended with status 0."""
        return self._process.poll() == 0

    def obituary(self) -> str:
        """Describe its end with the last lines and the path of its log."""
        # A killed process left no reason in its log.
        was_killed = -(self._process.poll() or 0) in (signal.SIGKILL, signal.SIGTERM)
        log = f"\n  its log: {self.log}" if was_killed else self._last_words()
        return f"the {self.name} ended ({self.end}){log}"

    def check(self) -> None:
        """Raise ``CommandError`` with the last lines of its log if it has ended."""
        if self.end is not None:
            raise CommandError(self.obituary(), exit_codes.FAULT)

    def wait_for(self, probe: Callable[[], T | None], seconds: float) -> T:
        """Repeat ``probe`` until it returns a value, and return that.

        Raises:
            CommandError: ``seconds`` have passed, or the process has ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            value = probe()
            if value is not None:
                return value
            if time.monotonic() > deadline:
                late = f"the {self.name} is not ready after {seconds:.0f} s"
                raise CommandError(late + self._last_words(), exit_codes.FAULT)
            time.sleep(_POLL_SECONDS)

    def output(self) -> str:
        """Return its output since the start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def rotate_log(self) -> None:
        """Move a log that has become large to ``LOG.1`` and drop the oldest.

        The process keeps its descriptor, so that the file is copied and emptied; output between the
        two is lost. Without disk space for the copy the log stays.
        """
        with contextlib.suppress(OSError):
            if not self.log.exists() or self.log.stat().st_size <= MAX_LOG_BYTES:
                return
            numbered = [self.log.with_name(f"{self.log.name}.{n}") for n in range(1, OLD_LOGS + 1)]
            for older, newer in itertools.pairwise(reversed(numbered)):
                if newer.exists():
                    newer.replace(older)
            shutil.copyfile(self.log, numbered[0])
            os.truncate(self.log, 0)
            self._log_start = 0

    def terminate(self) -> None:
        """Send SIGTERM, once: at a second one Celery stops at once. Does not wait."""
        if not self._asked and self._process.poll() is None:
            self._asked = True
            self._process.terminate()

    def stop(self, grace: float | None = None) -> None:
        """Terminate it, wait ``grace`` seconds (default: its grace), then kill its process group.

        A grace of 0 kills it at once.
        """
        grace = self._grace if grace is None else grace
        try:
            if grace > 0:
                self.terminate()
                self._process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also after a clean end: no process of the group may remain.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        lines = last_words(self.output()[-_TAIL_BYTES:].splitlines())
        return "".join(f"\n  | {line}" for line in lines) + f"\n  its log: {self.log}"
