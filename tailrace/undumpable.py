"""Protection of processes with credentials from stage processes, which run as the same user."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_DUMPABLE = 4


def forbid_reading() -> None:
    """Give this process's folder in ``/proc`` to root, and forbid others to trace the process.

    A stage process runs as the same user and handles content from outside. It could read the
    broker's password from ``/proc/PID/environ`` and the worker token from memory. The setting
    (PR_SET_DUMPABLE, prctl(2)) ends with the next exec, so that stage processes do not inherit it.
    It also turns off core dumps, and debuggers then need root. Outside Linux it has no effect.

    Raises:
        OSError: The kernel refused.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
