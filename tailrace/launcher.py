"""Launcher of a child process that does not outlive its parent.

``launcher.py SIGNAL PARENT CORES CONFINEMENT COMMAND…``

SIGNAL is the number that the kernel sends when the thread that spawned the process ends
(PR_SET_PDEATHSIG, prctl(2)). PARENT is the pid that must still be its parent. CORES are the CPU
cores that it is pinned to, separated by commas (`-`: those of its parent). CONFINEMENT is `-`, or a
JSON list of files and folders that must appear empty to the child; a confined child cannot inspect
other processes either, even as root. COMMAND then replaces the launcher; all of these settings
survive exec. A ``preexec_fn`` could do the same only by running Python between fork and exec of a
process with threads, where it can deadlock.

The launcher is run by path with ``python -I -S`` and imports the standard library only. Outside
Linux none of these settings exists, and COMMAND is executed directly.
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
"""Capabilities that root keeps (capabilities(7)).

CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER let root use folders of other users; accelerators may
need CAP_IPC_LOCK, CAP_SYS_NICE and CAP_SYS_RESOURCE. CAP_SYS_PTRACE must not be among them: it
permits reading the environment of other processes.
"""

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
    """Return the arguments that start ``argv`` as a child bound to this process.

    Spawn the child from the main thread: the signal fires when the spawning *thread* ends.

    Args:
        signal_number: Signal that the child gets when this process ends.
        argv: Command of the child.
        cores: CPU cores that the child is pinned to (default: not pinned).
        hidden: Files and folders that appear empty to the child if the system allows a mount
            namespace. Any list, even an empty one, also confines the child: executing other
            programs gains it no privileges, and it loses most of those of root.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(int(signal_number)), str(os.getpid())]
    confinement = "-" if hidden is None else json.dumps([str(path) for path in hidden])
    return [*launcher, ",".join(map(str, cores)) or "-", confinement, *argv]


def main(argv: list[str]) -> None:
    """Replace the process by the command, or end it with a message and status 127."""
    signal_number, parent, cores, child = int(argv[1]), int(argv[2]), argv[3], argv[5:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if argv[4] != "-":
            # Before the signal is set: a change of credentials clears it.
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
    """Cover files and folders with empty ones in a mount namespace, if one is allowed.

    Root may create one; other users may if user namespaces are allowed. A child tries first,
    because a failed attempt cannot be undone.
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
    """Give up the right to gain privileges, and at the next exec most capabilities of root."""
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in _CAPABILITIES:
        if capability not in _FEW_CAPABILITIES:
            # Refused without CAP_SETPCAP, when there is nothing to drop, and for unknown numbers.
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _fail(child: list[str], why: str) -> None:
    sys.stderr.write(f"cannot start {child[0]}: {why}\n")
    sys.exit(127)


if __name__ == "__main__":
    main(sys.argv)
