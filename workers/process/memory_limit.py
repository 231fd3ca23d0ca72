"""Memory limit of a stage, and its current usage.

A limit of the address space would not work: JAX and CUDA reserve far more than they use. So the
worker measures the memory of the stage's processes several times a second, and kills a stage that
exceeds its share, before the kernel chooses a process to kill.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from workers.process.oom import memory_groups

_FIND_SECONDS = 1.0
"""Interval between searches for new processes of the stage, which are slow on a busy host."""

_HELD = re.compile(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB$", re.MULTILINE)
_LARGEST = 1 << 50
"""Largest limit that counts: control groups without a limit name a larger one."""


@dataclass(frozen=True)
class Overuse:
    """Memory usage of a stage above its limit."""

    used_bytes: int
    """Memory of the stage's processes when it was killed."""
    limit_bytes: int
    """Memory limit of the stage."""


class MemoryWatch:
    """Monitor of the memory of a process and its descendants, without mapped files."""

    def __init__(self, pid: int, limit_bytes: int | None) -> None:
        """Watch process ``pid``; ``None`` stands for no limit."""
        self._pid = pid
        self._limit_bytes = limit_bytes
        self._processes: list[int] = [pid]
        self._find_at = time.monotonic() + _FIND_SECONDS

    def overuse(self) -> Overuse | None:
        """Return the usage if it exceeds the limit; cheap enough for every poll."""
        if self._limit_bytes is None:
            return None
        if time.monotonic() >= self._find_at:
            self._processes = [self._pid, *_descendants(self._pid)]
            self._find_at = time.monotonic() + _FIND_SECONDS
        used = sum(held_bytes(pid) for pid in self._processes)
        return Overuse(used, self._limit_bytes) if used > self._limit_bytes else None


def share_bytes(slots: int, proc: Path = Path("/proc"), sys: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory limit of one of a worker's slots: nine tenths of its equal share.

    The slots share the memory of the host, or of the control group if that is less.
    """
    limits = [psutil.virtual_memory().total]
    groups = memory_groups(proc, sys)
    # The parent groups have limits, too; inside a container, only they have folders.
    around = {parent for group in groups for parent in group.parents if parent.is_relative_to(sys)}
    for group in {*groups, *around}:
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is not a number
                limits.append(int((group / name).read_text()))
    total = min(limit for limit in limits if limit < _LARGEST)
    return total * 9 // 10 // slots


def held_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """Return a process's private and shared anonymous memory, swapped or not; 0 if it has ended."""
    try:
        status = (proc / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return 1024 * sum(map(int, _HELD.findall(status)))


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    return []
