"""Permissions and changes of files with secrets, which only their owner may read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

MAX_SECRET_BYTES = 4096
"""Longest secret in a file."""


def exposure(path: Path, status: os.stat_result) -> str:
    """Return the problem with the mode of a secret's file, and the way out; empty if none.

    Secrets from Kubernetes and systemd belong to root, and their group may read them.
    """
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o177 & ~allowed:
        return f"{path} has mode {mode:04o}, so that others may read it: chmod 600 {path}"
    return ""


def file_version(path: Path) -> tuple[int, int, int]:
    """Return a value that changes with the file's content; zeros while there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_ino, status.st_size


class FollowedSecret:
    """Secret of a file, read again whenever the file changes, so that it can be replaced."""

    def __init__(self, path: Path, read: Callable[[Path], str]) -> None:
        """Read the file.

        Args:
            path: File with the secret.
            read: Function that returns the secret, or raises ``ValueError``, which is raised here.
        """
        self._path = path
        self._read = read
        self._version = file_version(path)
        self._value = read(path)

    @property
    def value(self) -> str:
        """Secret; the previous one while a changed file is unusable."""
        with contextlib.suppress(ValueError):
            version = file_version(self._path)
            if version != self._version:
                self._value = self._read(self._path)
                self._version = version
        return self._value


def read_private(path: Path, name: str) -> bytes:
    """Return the first bytes of a secret's file.

    Args:
        path: File with the secret.
        name: Name of the secret, for messages.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: Others may read the file; names the way out.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = file.read(MAX_SECRET_BYTES)
    problem = exposure(path, status)
    if problem:
        raise ValueError(f"{name} {problem}")
    return content
