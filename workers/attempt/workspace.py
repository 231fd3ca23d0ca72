"""Folders of attempts, each created for one attempt and removed after its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from tailrace.formats.dispatch import TaskId

_log = structlog.get_logger(__name__)

_LOCK = "owner.lock"

_CLEAR_GOES = 5
_CLEAR_PAUSE_SECONDS = 0.05


class WorkspaceError(Exception):
    """The work folder cannot be used, for the reason in the message."""


class Workspace:
    """A worker's folder below ``work_dir``, locked while the worker lives.

    The lock (flock(2)) is released when the process ends, however that happens. So a folder that
    can be locked has no living owner, and the next worker removes it.
    """

    def __init__(self, work_dir: Path, worker: str) -> None:
        """Lock ``work_dir/worker`` and remove the folders of dead workers from ``work_dir``.

        Raises:
            WorkspaceError: Another process has this name, or the folder is not writable.
        """
        self.folder = work_dir.absolute() / worker
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = try_lock(self.folder / _LOCK)
        except OSError as error:
            raise WorkspaceError(f"cannot use {self.folder}: {error.strerror}") from error
        if self._lock is None:
            raise WorkspaceError(f"another worker named {worker!r} is running on {work_dir}")
        _empty(self.folder)
        for other in work_dir.absolute().iterdir():
            if other != self.folder and (other / _LOCK).is_file():
                _clear_if_dead(other)

    def clear_slot(self, slot: str) -> None:
        """Remove the attempt's folder of a dead pool process; never raises.

        Its stage process is being killed meanwhile and may still write, so removal may take several
        tries. Remaining files are removed by the slot's next attempt.
        """
        for _ in range(_CLEAR_GOES):
            shutil.rmtree(self.folder / slot, ignore_errors=True)
            if not (self.folder / slot).exists():
                return
            time.sleep(_CLEAR_PAUSE_SECONDS)

    def close(self) -> None:
        """Remove the folder and release the lock."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextlib.contextmanager
def attempt_folder(workspace: Path, slot: str, task: TaskId) -> Iterator[Path]:
    """Yield an empty folder for one attempt, and remove it afterwards.

    Remains of an earlier, dead process of the slot are removed first. The name contains the task
    id, which makes it readable in the process list, and differs for each delivery.
    """
    slot_folder = workspace / slot
    shutil.rmtree(slot_folder, ignore_errors=True)
    folder = slot_folder / f"{task}.{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(slot_folder, ignore_errors=True)


def _clear_if_dead(folder: Path) -> None:
    with contextlib.suppress(OSError):
        lock = try_lock(folder / _LOCK)
        if lock is None:
            return
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        _log.info("removed the folder of a dead worker", folder=str(folder))


def try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, or ``None`` when another process does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _LOCK:
            entry.unlink()
