"""Two sides that take turns: each is a process of its own, idle while the other one runs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

START_SECONDS = 600
"""How long a side may take to start and compile."""


class Racer:
    """A side: a module of the benchmarks that :func:`serve` s steps."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def peak_bytes(self) -> int:
        """Return the largest number of resident bytes that the side has had.

        Raises:
            RuntimeError: The system does not report it.
        """
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        if peak is None:
            raise RuntimeError("the system does not report peak memory")
        return int(peak[1]) * 1024

    def run(self, steps: int) -> float:
        """Seconds of so many steps. Raises :class:`RuntimeError` when the side has ended."""
        return float(self.ask(f"{steps}\n"))

    def ask(self, request: str) -> str:
        """Return the line that the side answers to a request; an empty one only waits for it.

        Raises:
            RuntimeError: The side has ended.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the side has no pipes")
        process.stdin.write(request)
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{process.args!r} ended with status {process.wait()}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def serve(steps: Callable[[int], None]) -> None:
    """Answer every number of steps on standard input with the seconds that they took."""
    for line in iter(sys.stdin.readline, ""):
        begun = time.perf_counter()
        steps(int(line))
        sys.stdout.write(f"{time.perf_counter() - begun}\n")
        sys.stdout.flush()
