"""Detection of kills by the kernel's out-of-memory killer in this process's control group."""

from __future__ import annotations

import re
from pathlib import Path


class OomCounter:
    """Counter of ``oom_kill`` events since its creation.

    Reads ``memory.events`` of cgroup v2 and ``memory.oom_control`` of v1 (kernel documentation,
    admin-guide/cgroup-v2 and cgroup-v1/memory), and ``/proc/vmstat`` for a host that runs out
    of memory. Kills of other processes count, too: the answer is a likely cause, not a proof.
    """

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys/fs/cgroup")) -> None:
        groups = memory_groups(proc, sys)
        names = ("memory.events", "memory.oom_control")
        self._files = [*(group / name for group in groups for name in names), proc / "vmstat"]
        self._before = self._count()

    def rose(self) -> bool:
        """Return True if there was a kill since this counter was created."""
        return self._count() > self._before

    def _count(self) -> int:
        return sum(_oom_kills(path) for path in self._files)


def memory_groups(proc: Path, sys: Path) -> list[Path]:
    """Return the folders of this process's control groups that account for memory."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        relative = group.lstrip("/")
        if controllers == "":
            folders.append(sys / relative)
        elif "memory" in controllers.split(","):
            folders.append(sys / "memory" / relative)
    return folders


def _oom_kills(path: Path) -> int:
    try:
        match = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0
