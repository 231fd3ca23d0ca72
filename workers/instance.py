"""Identity of a worker: an id stored in its work folder, and a name derived from it."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from workers.attempt.workspace import WorkspaceError, try_lock

FOLDER = "_instances"
"""Folder of ids in the work folder; the names of workers' folders begin with a letter instead."""

_ID = re.compile(rb"[A-Za-z0-9_-]{32,64}")


@dataclass(frozen=True)
class Instance:
    """Id and name that no other running process of the work folder has."""

    id: str
    """Secret to which the control plane binds the worker's name."""
    name: str
    """Name of the worker, the same after each start."""
    _lock: int

    @classmethod
    def claim(cls, work_dir: Path, name: str) -> Instance:
        """Take the id that ``work_dir`` stores for ``name``; create it at the first start.

        Without a name, take the first id that no other process holds: several workers of a folder
        get different names, and the same ones after a restart.

        Raises:
            WorkspaceError: Another process has the name, or the folder is not writable.
        """
        folder = work_dir.absolute() / FOLDER
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if name:
                descriptor = try_lock(folder / name)
                if descriptor is None:
                    raise WorkspaceError(f"another worker named {name!r} is running on {work_dir}")
                return cls(_kept_id(descriptor), name, descriptor)
            # Names of workers contain no dot.
            files = (folder / f"unnamed.{number}" for number in itertools.count(1))
            descriptor = next(lock for file in files if (lock := try_lock(file)) is not None)
            instance_id = _kept_id(descriptor)
        except OSError as error:
            raise WorkspaceError(f"cannot use {folder}: {error.strerror}") from error
        return cls(instance_id, _default_name(instance_id), descriptor)

    def close(self) -> None:
        """Release the id for other processes."""
        os.close(self._lock)


def _kept_id(descriptor: int) -> str:
    """Return the id in a locked file; create one if it is missing or incomplete."""
    stored_id = os.pread(descriptor, 128, 0)
    if not _ID.fullmatch(stored_id):
        stored_id = secrets.token_urlsafe(32).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, stored_id, 0)
        os.fsync(descriptor)
    return stored_id.decode()


def _default_name(instance_id: str) -> str:
    """Derive a worker's name from the host's name and a hash of the id, which is secret."""
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")
    if not host or not host[0].isalpha():
        host = f"host-{host}".strip("-")
    short = hashlib.sha256(instance_id.encode()).hexdigest()[:8]
    return f"{host[:54].rstrip('-')}-{short}"
