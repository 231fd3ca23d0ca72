"""Whether anything of a slot's last stage is still there: a process, or accelerator memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from workers.accelerators import AcceleratorError, memory_mib

TOLERANCE_MIB = 64
"""Memory that a GPU may use beyond its baseline: drivers round, and monitoring comes and goes."""

SETTLE_SECONDS = 30.0
"""How long a killed stage may take to vanish before its slot is called quarantined."""

HOLD_SECONDS = 60.0
"""How long a delivery waits for a quarantined slot; its stage is then offered elsewhere."""

_POLL_SECONDS = 0.2


class CleanSlot:
    """Looks at one slot between two stages."""

    def __init__(self, folder: Path, devices: Sequence[int], baseline_mib: int) -> None:
        """Watch a slot.

        Args:
            folder: Where its stages work, each in a folder below.
            devices: Indices of its GPUs; none for other slots.
            baseline_mib: Memory that they used together before the worker's first stage.
        """
        self._folder = folder
        self._devices = devices
        self._baseline_mib = baseline_mib
        self._seen_clean = False

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """A stage runs in the block.

        What is there after it is looked for at once, while nobody waits: looking at each process
        of the host, and asking for the memory of its GPUs, takes long.
        """
        self._seen_clean = False
        yield
        self._seen_clean = not self.problem()

    def problem(self) -> str:
        """What is still there; empty when the slot is clean.

        Whoever works in the slot's folder belongs to its last stage, also what left the process
        group, and what a pool process left that was killed.
        """
        left = sorted(_working_in(self._folder))
        if left:
            shown = ", ".join(map(str, left[:10]))
            return f"processes of its last stage are still there: {shown}"
        if self._devices:
            try:
                used = memory_mib(self._devices)
            except AcceleratorError as error:
                return str(error)
            if used > self._baseline_mib + TOLERANCE_MIB:
                return (
                    f"its accelerators still use {used} MiB, {used - self._baseline_mib} more than "
                    "when the worker started"
                )
        return ""

    def wait(self, told: Callable[[str], None], give_up: Callable[[], bool]) -> bool:
        """Wait until the slot is clean; False when it is still not after a minute, or given up.

        It is not looked at again where it was clean after the last stage. ``told`` hears why it is
        in quarantine, and an empty text once it is clean again.
        """
        began = time.monotonic()
        quarantined = False
        while not self._seen_clean and (problem := self.problem()):
            waited = time.monotonic() - began
            if waited > SETTLE_SECONDS:
                quarantined = True
                told(problem)
            if waited > HOLD_SECONDS or give_up():
                return False
            time.sleep(_POLL_SECONDS)
        if quarantined:
            told("")
        return True


def _working_in(folder: Path) -> list[int]:
    found = []
    # Text, not paths: a busy host has thousands of processes.
    inside = f"{folder}{os.sep}"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            # Of a folder that is removed the kernel says so.
            place = process.cwd().removesuffix(" (deleted)")
            if f"{place}{os.sep}".startswith(inside) and process.pid != os.getpid():
                found.append(process.pid)
    return found
