"""Identity of a worker: an id that its work folder keeps, and the name that comes of it."""

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
"""Below the work folder; the name of a worker's own folder begins with a letter."""

_ID = re.compile(rb"[A-Za-z0-9_-]{32,64}")


@dataclass(frozen=True)
class Instance:
    """An id that no other running process of the work folder has."""

    id: str
    """Secret to which the control plane binds the worker's name."""
    name: str
    """Name of the worker, the same at each start."""
    _lock: int

    @classmethod
    def claim(cls, work_dir: Path, name: str) -> Instance:
        """Take the id that ``work_dir`` keeps for ``name``; a new one at the first start.

        Without a name the first id that no other process holds decides, so that several workers of
        a folder have a name each, and the same ones after a new start.

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
            # No given name has a dot.
            files = (folder / f"unnamed.{number}" for number in itertools.count(1))
            descriptor = next(lock for file in files if (lock := try_lock(file)) is not None)
            instance_id = _kept_id(descriptor)
        except OSError as error:
            raise WorkspaceError(f"cannot use {folder}: {error.strerror}") from error
        return cls(instance_id, _default_name(instance_id), descriptor)

    def close(self) -> None:
        """Let another process have the id."""
        os.close(self._lock)


def _kept_id(descriptor: int) -> str:
    """Return the id in a locked file; one that is missing or incomplete is made."""
    kept = os.pread(descriptor, 128, 0)
    if not _ID.fullmatch(kept):
        kept = secrets.token_urlsafe(32).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, kept, 0)
        os.fsync(descriptor)
    return kept.decode()


def _default_name(instance_id: str) -> str:
    """Return a worker's name from the host's name and the id, which itself stays secret."""
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")
    if not host or not host[0].isalpha():
        host = f"host-{host}".strip("-")
    short = hashlib.sha256(instance_id.encode()).hexdigest()[:8]
    return f"{host[:54].rstrip('-')}-{short}"
