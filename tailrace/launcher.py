"""Becomes a child that does not outlive its parent.

``launcher.py SIGNAL PARENT CORES PRIVILEGES COMMAND…``

SIGNAL is the number that the kernel sends when the thread that spawned the process ends
(PR_SET_PDEATHSIG, prctl(2)), PARENT the pid that must still be its parent, CORES the CPU cores it
is pinned to, separated by commas (`-`: those of its parent). PRIVILEGES is ``few`` for a child
that must not look into other processes, even as root, and else `-`. Then COMMAND is executed in its
place; all of these settings survive exec. A ``preexec_fn`` could do the same only by running Python
between fork and exec of a process with threads, where it can deadlock.

It is run by path with ``python -I -S`` and imports the standard library only. Outside Linux there
is none of them, and COMMAND is executed as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

_FEW_CAPABILITIES = {0, 1, 3, 14, 23, 24}
"""CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER, with which root uses folders of other users, and
CAP_IPC_LOCK, CAP_SYS_NICE and CAP_SYS_RESOURCE, which accelerators may need (capabilities(7)).
CAP_SYS_PTRACE, which reads the environment of other processes, is the one that must not be here."""

_CAPABILITIES = range(64)


def command(
    signal_number: int, argv: Sequence[str], cores: Iterable[int] = (), *, confined: bool = False
) -> list[str]:
    """The arguments that start ``argv`` as a child bound to this process.

    Without ``cores`` it is not pinned. A ``confined`` child gains no privileges by executing other
    programs, and loses most of root's. Spawn it from the main thread: the signal fires when the
    spawning *thread* ends.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(int(signal_number)), str(os.getpid())]
    return [*launcher, ",".join(map(str, cores)) or "-", "few" if confined else "-", *argv]


def main(argv: list[str]) -> None:
    """Never returns: the process is replaced, or ends with a message and status 127."""
    signal_number, parent, cores, child = int(argv[1]), int(argv[2]), argv[3], argv[5:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
            _fail(child, os.strerror(ctypes.get_errno()))
        try:
            if cores != "-":
                os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
        except OSError as error:
            _fail(child, f"CPU cores {cores}: {error.strerror}")
        if argv[4] == "few":
            _confine(libc)
    if os.getppid() != parent:
        _fail(child, "its parent ended first")
    try:
        os.execvp(child[0], child)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _fail(child, error.strerror or str(error))


def _confine(libc: ctypes.CDLL) -> None:
    """Give up the right to gain privileges, and most capabilities of root at the next exec."""
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in _CAPABILITIES:
        if capability not in _FEW_CAPABILITIES:
            # Refused without CAP_SETPCAP, and then there is nothing to give up, or no such number.
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _fail(child: list[str], why: str) -> None:
    sys.stderr.write(f"cannot start {child[0]}: {why}\n")
    sys.exit(127)


if __name__ == "__main__":
    main(sys.argv)
