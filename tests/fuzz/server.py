"""A control plane in a process of its own, with a run, a worker and a lease to begin with."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import structlog

from tests.servers.control_plane import ServedControlPlane


class Served(NamedTuple):
    """Process of a control plane."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    def memory_mib(self) -> float:
        """Return the resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Start a control plane with its data in a folder, and end it after the block."""
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the control plane does not start: {log.read_text()[-2000:]}")
        yield Served(address, process, log)
        if process.poll() is not None:
            raise RuntimeError(f"the control plane ended: {log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    # Standard output is a pipe that holds no more than the address.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    plane = ServedControlPlane(
        f"sqlite+aiosqlite:///{folder}/tailrace.db",
        folder / "data",
        upload_idle_seconds=5.0,
    )
    print(plane.address, flush=True)  # noqa: T201 - the address for the starting process
    sys.stdin.read()


if __name__ == "__main__":
    main()
