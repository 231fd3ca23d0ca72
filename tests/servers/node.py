"""What every private server has in common: a free port, a process group, an end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


class MissingServerError(Exception):
    """The server's binaries are not on this machine; the text says how to get them."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_until(ready: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Poll until ``ready``; raises ``TimeoutError`` naming ``what``."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready within {timeout:.0f} s")
        time.sleep(0.05)


def port_open(port: int) -> bool:
    """Whether something listens on 127.0.0.1:port."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A server process in a session of its own, with its output in a file."""

    def __init__(
        self,
        argv: list[str],
        *,
        log: Path,
        env: dict[str, str] | None = None,
        user: str | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                user=user,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, which is also the process group's."""
        return self.popen.pid

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        self.popen.send_signal(number)

    def kill_group(self) -> None:
        """SIGKILL to every process of the group; waits for the leader."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, timeout: float = 20.0, number: int = signal.SIGTERM) -> None:
        """Ask to end, then kill what is left of the group."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout)
        self.kill_group()

    def tail(self, lines: int = 30) -> str:
        """The end of the output, for failure messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
