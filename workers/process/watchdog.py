"""Watchdog that kills a process group when its supervisor is gone: ``python watchdog.py GROUP``.

Its standard input is a pipe whose other end only the supervisor holds. However the supervisor
ends, even by SIGKILL, the pipe ends with it. Then the watchdog kills the remaining processes of the
group, including children of the stage process, which PR_SET_PDEATHSIG does not reach.

It runs in a separate session, so that killing the worker's process group leaves it alive. Like
:mod:`tailrace.launcher`, it is run by path with ``python -I -S``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main(argv: list[str]) -> None:
    """Wait until the supervisor's end of the pipe is closed, then kill the group."""
    group = int(argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv)
