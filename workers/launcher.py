"""Becomes the stage process: ``python launcher.py PARENT CORES COMMAND…``.

PARENT is the pid that must be our parent, CORES a comma-separated list of CPU cores. The script
asks the kernel to kill it when the thread that spawned it ends (PR_SET_PDEATHSIG, prctl(2)), pins
itself, and executes COMMAND; both survive exec. A ``preexec_fn`` could do the same only by running
Python between fork and exec of a process with threads, where it can deadlock.

It is run by path with ``python -I -S``, imports the standard library only, and starts in
milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Never returns: the process is replaced, or ends with a message and status 127."""
    parent, cores, command = int(argv[1]), argv[2], argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        _fail(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        _fail("the supervisor ended before the stage process began")
    try:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    except OSError as error:
        _fail(f"CPU cores {cores}: {error.strerror}")
    try:
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        _fail(f"{command[0]}: {error.strerror}")


def _fail(message: str) -> None:
    sys.stderr.write(f"cannot start the stage process: {message}\n")
    sys.exit(127)


if __name__ == "__main__":
    main(sys.argv)
