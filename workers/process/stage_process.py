"""The stage process: a session and process group, watched until all its processes are gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tailrace import launcher
from workers.process.oom import OomCounter

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_BARE_PYTHON = (sys.executable, "-I", "-S")


class StageProcess:
    """A spawned stage process. Create it in a main thread, which must outlive it.

    ``events`` and ``output`` are the reading ends of two pipes, for the process's event lines, and
    for its stdout and stderr in the order of writing. They end when the last process of the group
    is gone; the caller closes them. Leaving a ``with`` block kills the remaining processes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        cores: Sequence[int],
        folder: Path,
        waiting: bool = False,
        standard_input: bytes = b"",
        hidden: Iterable[Path] = (),
    ) -> None:
        """Spawn ``command`` with ``--events-fd N`` appended.

        Args:
            command: Program and arguments, including the job file.
            environment: Complete environment.
            cores: CPU cores to pin the process to.
            folder: Working folder.
            waiting: True if :meth:`give` names the job file later, in place of ``-``.
            standard_input: Content of the standard input of a process that does not wait. It is
                only in memory, not in a file or an environment.
            hidden: Files and folders that are empty for the process if the system allows it.

        Raises:
            OSError: The kernel refused: it has no memory, descriptors or processes left.
        """
        self._oom = OomCounter()
        memory = os.memfd_create("standard-input")
        os.write(memory, standard_input)
        os.lseek(memory, 0, os.SEEK_SET)
        events, events_writer = os.pipe()
        output, output_writer = os.pipe()
        stage = [*command, "--events-fd", str(events_writer)]
        try:
            self._popen = subprocess.Popen(
                launcher.command(signal.SIGKILL, stage, cores, hidden=hidden),
                stdin=subprocess.PIPE if waiting else memory,
                stdout=output_writer,
                stderr=output_writer,
                pass_fds=(events_writer,),
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        except OSError:
            os.close(events)
            os.close(output)
            raise
        finally:
            os.close(events_writer)
            os.close(output_writer)
            os.close(memory)
        self.events = events
        self.output = output
        self._watchdog = self._watch(folder)

    def __enter__(self) -> StageProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    @property
    def pid(self) -> int:
        """Process id, which is also that of the group and the session."""
        return self._popen.pid

    def give(self, job: Path) -> None:
        """Give a waiting process its job file, once.

        Raises:
            OSError: The process has ended.
        """
        if self._popen.stdin is None:
            raise ValueError("the process was started with its job")
        self._oom = OomCounter()
        with self._popen.stdin as pipe:
            pipe.write(os.fsencode(job) + b"\n")

    def has_ended(self) -> bool:
        """Return True if the process has ended. It is not reaped, so that its ids stay taken."""
        if self._popen.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, not to its children, unless it has ended."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def finish(self) -> int:
        """Kill the remaining processes of the group, reap them, and return the exit status.

        The status is that of :attr:`subprocess.Popen.returncode`: negative for a signal. Further
        calls return the same status.
        """
        if self._popen.returncode is None:
            # The leader is reaped last: until then no other process group can get its id.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._watchdog.kill()
            self._watchdog.communicate()
            self._popen.wait()
            if self._popen.stdin is not None:
                self._popen.stdin.close()
        return int(self._popen.returncode)

    def ran_out_of_memory(self) -> bool:
        """Return True if the kernel killed for memory in our control group since the start."""
        return self._oom.rose()

    def _watch(self, folder: Path) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*_BARE_PYTHON, str(_WATCHDOG), str(self.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd=folder,  # shows its owner
                start_new_session=True,
            )
        except OSError:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            os.close(self.events)
            os.close(self.output)
            raise
