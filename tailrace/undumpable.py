"""Keeps programs that hold credentials from being read by stages, which run as the same user."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_DUMPABLE = 4


def forbid_reading() -> None:
    """Have root own this process's folder in ``/proc``, and nobody else trace it.

    A stage process runs as the same user and handles content from outside. It could read the
    broker's password from ``/proc/PID/environ`` and the worker token from the memory. The setting
    (PR_SET_DUMPABLE, prctl(2)) ends with the next exec, so stage processes do not inherit it. It
    also turns off core dumps, and debuggers need root. There is nothing of it outside Linux.

    Raises:
        OSError: The kernel refused.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
