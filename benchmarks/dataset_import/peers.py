"""Processes whose time and peak memory are measured from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_LOAD = """
import sys
from datasets import load_dataset
rows = load_dataset("json", data_files=sys.argv[1], cache_dir=sys.argv[2], split="train")
assert len(rows) == int(sys.argv[3]), len(rows)
"""


@dataclass(frozen=True)
class Usage:
    """Time and memory of a process that ended."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: list[str], env: dict[str, str]) -> Usage:
    """Run a command to its end. Raises :class:`RuntimeError` if it fails."""
    began = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[:6]} ended with {process.returncode}")
    seconds = time.perf_counter() - began
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def load_dataset(path: Path, cache: Path, count: int) -> Usage:
    """Read a file with the library ``datasets``, without its cache of an earlier time."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return run([sys.executable, "-c", _LOAD, str(path), str(cache), str(count)], env)


def import_dataset(path: Path, dataset_id: str, server: str) -> Usage:
    """Import a file with the command line."""
    command = [sys.executable, "-m", "tailrace.cli.main", "datasets", "import", str(path)]
    return run([*command, "--id", dataset_id, "--server", server], dict(os.environ))


def peak_bytes(pid: int) -> int:
    """Return the peak resident memory of a running process (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no peak memory")
