"""Becomes a child that does not outlive its parent.

``launcher.py SIGNAL PARENT CORES CONFINEMENT COMMAND…``

SIGNAL is the number that the kernel sends when the thread that spawned the process ends
(PR_SET_PDEATHSIG, prctl(2)), PARENT the pid that must still be its parent, CORES the CPU cores it
is pinned to, separated by commas (`-`: those of its parent). CONFINEMENT is `-`, or a JSON list of
files and folders that the child must find empty; it then also must not look into other processes,
even as root. Then COMMAND is executed in its place; all of these settings survive exec. A
``preexec_fn`` could do the same only by running Python between fork and exec of a process with
threads, where it can deadlock.

It is run by path with ``python -I -S`` and imports the standard library only. Outside Linux there
is none of them, and COMMAND is executed as it is.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

_FEW_CAPABILITIES = {0, 1, 3, 14, 23, 24}
"""CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER, with which root uses folders of other users, and
CAP_IPC_LOCK, CAP_SYS_NICE and CAP_SYS_RESOURCE, which accelerators may need (capabilities(7)).
CAP_SYS_PTRACE, which reads the environment of other processes, is the one that must not be here."""

_CAPABILITIES = range(64)

_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000


def command(
    signal_number: int,
    argv: Sequence[str],
    cores: Iterable[int] = (),
    *,
    hidden: Iterable[Path] | None = None,
) -> list[str]:
    """The arguments that start ``argv`` as a child bound to this process.

    Without ``cores`` it is not pinned. With ``hidden``, also an empty list, it is confined: it
    gains no privileges by executing other programs, loses most of root's, and finds the hidden
    files and folders empty where the system lets it have a mount namespace. Spawn it from the main
    thread: the signal fires when the spawning *thread* ends.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(int(signal_number)), str(os.getpid())]
    confinement = "-" if hidden is None else json.dumps([str(path) for path in hidden])
    return [*launcher, ",".join(map(str, cores)) or "-", confinement, *argv]


def main(argv: list[str]) -> None:
    """Never returns: the process is replaced, or ends with a message and status 127."""
    signal_number, parent, cores, child = int(argv[1]), int(argv[2]), argv[3], argv[5:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if argv[4] != "-":
            # First: a change of credentials takes the signal back.
            _hide(libc, json.loads(argv[4]))
            _confine(libc)
        if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
            _fail(child, os.strerror(ctypes.get_errno()))
        try:
            if cores != "-":
                os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
        except OSError as error:
            _fail(child, f"CPU cores {cores}: {error.strerror}")
    if os.getppid() != parent:
        _fail(child, "its parent ended first")
    try:
        os.execvp(child[0], child)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _fail(child, error.strerror or str(error))


def _hide(libc: ctypes.CDLL, paths: list[str]) -> None:
    """Find files and folders empty from now on, in a mount namespace, if there may be one.

    Only root may have one by itself; others may where user namespaces are allowed. A child tries
    first, since there is no way back.
    """
    for namespaces in (_CLONE_NEWNS, _CLONE_NEWNS | _CLONE_NEWUSER) if paths else ():
        child = os.fork()
        if child == 0:
            os._exit(not _mount(libc, namespaces, paths))
        if os.waitpid(child, 0)[1] == 0:
            _mount(libc, namespaces, paths)
            return


def _mount(libc: ctypes.CDLL, namespaces: int, paths: list[str]) -> bool:
    ids = (("uid_map", os.geteuid()), ("gid_map", os.getegid()))
    if libc.unshare(namespaces) != 0:
        return False
    try:
        if namespaces & _CLONE_NEWUSER:
            Path("/proc/self/setgroups").write_text("deny")
            for name, number in ids:
                Path("/proc/self", name).write_text(f"{number} {number} 1")
    except OSError:
        return False
    if libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        return False
    covered = [_cover(libc, path) for path in paths]
    return any(covered)


def _cover(libc: ctypes.CDLL, path: str) -> bool:
    if not os.path.exists(path):  # noqa: PTH110 - a broken link and a missing folder alike
        return True
    if Path(path).is_dir():
        done = libc.mount(b"none", os.fsencode(path), b"tmpfs", 0, b"size=4k,mode=0500")
    else:
        done = libc.mount(b"/dev/null", os.fsencode(path), None, _MS_BIND, None)
    return bool(done == 0)


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
