"""The memory that a stage may use, and what it uses.

A limit of the address space would not do: JAX and CUDA reserve far more than they use. So the
worker looks at what the stage's processes hold, several times a second, and kills a stage that
holds more than its share, before the kernel chooses a process to kill.
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
"""Seconds between searches for further processes of the stage, which are slow on a busy host."""

_HELD = re.compile(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB$", re.MULTILINE)
_LARGEST = 1 << 50
"""Control groups without a limit name a larger one."""


@dataclass(frozen=True)
class Overuse:
    """A stage that used more memory than it may."""

    used_bytes: int
    """Memory that its processes held when it was killed."""
    limit_bytes: int
    """Memory that it may use."""


class MemoryWatch:
    """Looks at the memory of a process and its descendants; files that are mapped do not count."""

    def __init__(self, pid: int, limit_bytes: int | None) -> None:
        """Watch process ``pid``; without a limit it may use what it likes."""
        self._pid = pid
        self._limit_bytes = limit_bytes
        self._processes: list[int] = [pid]
        self._find_at = time.monotonic() + _FIND_SECONDS

    def overuse(self) -> Overuse | None:
        """Return what is used if it is more than the limit; cheap enough for every look."""
        if self._limit_bytes is None:
            return None
        if time.monotonic() >= self._find_at:
            self._processes = [self._pid, *_descendants(self._pid)]
            self._find_at = time.monotonic() + _FIND_SECONDS
        used = sum(held_bytes(pid) for pid in self._processes)
        return Overuse(used, self._limit_bytes) if used > self._limit_bytes else None


def share_bytes(slots: int, proc: Path = Path("/proc"), sys: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that one of a worker's slots may use: a tenth less than its equal share.

    All of it is the host's, or that of the control group where this is less.
    """
    limits = [psutil.virtual_memory().total]
    groups = memory_groups(proc, sys)
    # The groups around it have limits, too; inside of a container only those have folders.
    around = {parent for group in groups for parent in group.parents if parent.is_relative_to(sys)}
    for group in {*groups, *around}:
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number
                limits.append(int((group / name).read_text()))
    total = min(limit for limit in limits if limit < _LARGEST)
    return total * 9 // 10 // slots


def held_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """Return the memory that belongs to a process itself, swapped or not; 0 for one that ended."""
    try:
        status = (proc / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return 1024 * sum(map(int, _HELD.findall(status)))


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    return []
