"""The stage process: its own session and process group, watched until nothing of it is left."""

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
    """A spawned stage process. Must be made in a main thread, which has to outlive it.

    ``events`` and ``output`` are the reading ends of two pipes: the process's event lines, and its
    stdout and stderr together, in the order in which it wrote them. They end when the last process
    of the group is gone. The caller closes them. Leaving a ``with`` block kills what is left.
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
            command: The program and its arguments, the job file among them.
            environment: Its whole environment.
            cores: CPU cores it is pinned to.
            folder: Its working folder.
            waiting: Whether the job file is given later, by :meth:`give`, instead of ``-``.
            standard_input: All that a process which does not wait reads there. It is kept in
                memory, in no file and in no environment.
            hidden: Files and folders that it finds empty, where the system allows that.

        Raises:
            OSError: The kernel refused (no memory, no descriptors, no processes left).
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
        """Process id, which is also the group's and the session's."""
        return self._popen.pid

    def give(self, job: Path) -> None:
        """Tell a waiting process its job file, once.

        Raises:
            OSError: It has ended.
        """
        if self._popen.stdin is None:
            raise ValueError("the process was started with its job")
        self._oom = OomCounter()
        with self._popen.stdin as pipe:
            pipe.write(os.fsencode(job) + b"\n")

    def has_ended(self) -> bool:
        """Whether the process has ended; it stays unreaped, so that its ids stay taken."""
        if self._popen.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, unless it has ended; not to its children."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def finish(self) -> int:
        """Kill what is left of the group, reap it, and return the exit status.

        The status is that of :attr:`subprocess.Popen.returncode`: negative for a signal. Calling
        it again returns the same.
        """
        if self._popen.returncode is None:
            # The leader is reaped last: until then nobody else can get its id as a process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._watchdog.kill()
            self._watchdog.communicate()
            self._popen.wait()
            if self._popen.stdin is not None:
                self._popen.stdin.close()
        return int(self._popen.returncode)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed for memory in our control group since the process began."""
        return self._oom.rose()

    def _watch(self, folder: Path) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*_BARE_PYTHON, str(_WATCHDOG), str(self.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd=folder,  # tells whose it is
                start_new_session=True,
            )
        except OSError:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            os.close(self.events)
            os.close(self.output)
            raise
