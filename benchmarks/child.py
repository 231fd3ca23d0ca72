"""Numbers that a process of its own measures, so that no measurement warms up the next."""

from __future__ import annotations

import json
import subprocess
import sys

TIMEOUT_SECONDS = 1800
"""How long one measurement may take."""


def measure(module: str, *arguments: str) -> dict[str, float]:
    """What a module of the benchmarks prints as its last line.

    Raises :class:`subprocess.CalledProcessError` when it fails.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT_SECONDS
    )
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def tell(numbers: dict[str, float]) -> None:
    """Print what the process measured."""
    sys.stdout.write(json.dumps(numbers) + "\n")
