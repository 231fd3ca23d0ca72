"""Check for remains of a slot's last stage: processes, or accelerator memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from workers.accelerators import AcceleratorError, memory_mib

TOLERANCE_MIB = 64
"""Memory that a GPU may use beyond its baseline, for rounding by drivers and for monitoring."""

SETTLE_SECONDS = 30.0
"""Time that a killed stage has to vanish before its slot counts as quarantined."""

HOLD_SECONDS = 60.0
"""Time that a delivery waits for a quarantined slot; its stage is then offered elsewhere."""

_POLL_SECONDS = 0.2


class CleanSlot:
    """Check of one slot between two stages."""

    def __init__(self, folder: Path, devices: Sequence[int], baseline_mib: int) -> None:
        """Watch a slot.

        Args:
            folder: Folder of the slot, with a subfolder per attempt.
            devices: Indices of its GPUs; empty for other slots.
            baseline_mib: Memory that these GPUs used before the worker's first stage.
        """
        self._folder = folder
        self._devices = devices
        self._baseline_mib = baseline_mib
        self._seen_clean = False

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Mark the slot as in use inside the ``with`` block, and check it afterwards.

        The check runs right after the stage, while no delivery waits: it inspects every process of
        the host and the memory of the GPUs, which is slow.
        """
        self._seen_clean = False
        yield
        self._seen_clean = not self.problem()

    def problem(self) -> str:
        """Return a description of the remains; empty if the slot is clean.

        Every process that works in the slot's folder belongs to its last stage, even if it left the
        process group, or its pool process was killed.
        """
        pids = sorted(_working_in(self._folder))
        if pids:
            excerpt = ", ".join(map(str, pids[:10]))
            return f"processes of its last stage still exist: {excerpt}"
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

    def wait(self, on_quarantine: Callable[[str], None], give_up: Callable[[], bool]) -> bool:
        """Wait until the slot is clean.

        A slot that was clean after its last stage is not checked again.

        Args:
            on_quarantine: Callback with the reason for the quarantine, and with an empty text at
                its end.
            give_up: Predicate that ends the wait.

        Returns:
            False if the slot is not clean after a minute, or ``give_up()`` came first.
        """
        began = time.monotonic()
        quarantined = False
        while not self._seen_clean and (problem := self.problem()):
            waited = time.monotonic() - began
            if waited > SETTLE_SECONDS:
                quarantined = True
                on_quarantine(problem)
            if waited > HOLD_SECONDS or give_up():
                return False
            time.sleep(_POLL_SECONDS)
        if quarantined:
            on_quarantine("")
        return True


def _working_in(folder: Path) -> list[int]:
    pids = []
    # Texts instead of paths: a busy host has thousands of processes.
    inside = f"{folder}{os.sep}"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            # The kernel marks a removed folder.
            place = process.cwd().removesuffix(" (deleted)")
            if f"{place}{os.sep}".startswith(inside) and process.pid != os.getpid():
                pids.append(process.pid)
    return pids
