"""Worker token: a secret in a file that control planes and their workers share.

Its holder may act as a worker: take stages, report for them, and pass models to other runs through
the stage cache. The token travels in the metadata of each call (``authorization: Bearer …``) and is
stored only in the file: never in the environment, on a command line or in Celery's configuration,
which Flower displays.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from pathlib import Path

from tailrace.private_file import exposure

VARIABLE = "TAILRACE_WORKER_TOKEN_FILE"
"""Environment variable with the path of the file, for control planes and workers."""

FILE_NAME = "worker-token"
"""Name of the file in a control plane's data folder, unless the variable names another file."""

MIN_CHARACTERS = 32
"""Minimum length of a token, which must be impossible to guess."""

HEADER = "authorization"
"""Metadata key of the token."""

Metadata = tuple[tuple[str, str], ...]
"""Metadata of a call in gRPC's form."""

_TOKEN_BYTES = 32
_MAX_BYTES = 4096
_SCHEME = "Bearer "


class WorkerTokenError(ValueError):
    """Error of an unusable token file; the message names the file, the error and the way out."""


class WorkerToken:
    """Token of a file, read again whenever the file changes, so that it can be replaced."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            WorkerTokenError: The file is missing, open to others, or holds no token.
        """
        self._path = path
        self._version = _version(path)
        self._value = read(path)

    @property
    def value(self) -> str:
        """Token; the previous one while a changed file is unusable."""
        with contextlib.suppress(WorkerTokenError):
            version = _version(self._path)
            if version != self._version:
                self._value = read(self._path)
                self._version = version
        return self._value

    def metadata(self) -> Metadata:
        """Return the metadata that a call carries."""
        return ((HEADER, f"{_SCHEME}{self.value}"),)


def bearer(metadata: Metadata) -> str:
    """Return the token in a call's metadata; empty if there is none."""
    for name, value in metadata:
        if name == HEADER and isinstance(value, str) and value.startswith(_SCHEME):
            return value.removeprefix(_SCHEME)
    return ""


def read(path: Path) -> str:
    """Return the token of a file.

    Raises:
        WorkerTokenError: The file is missing, open to others, or holds no token.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_MAX_BYTES)
    except FileNotFoundError as error:
        raise WorkerTokenError(
            f"there is no worker token at {path}: name the file with {VARIABLE}; the control plane "
            f"keeps it as {FILE_NAME} in its data folder unless the same variable names another"
        ) from error
    except OSError as error:
        raise WorkerTokenError(
            f"cannot read the worker token {path}: {error.strerror}; let {VARIABLE} name a file "
            "that this user may read"
        ) from error
    problem = exposure(path, status)
    if problem:
        raise WorkerTokenError(f"the worker token {problem}")
    return _parsed(path, content)


def make(path: Path) -> None:
    """Store a new token unless the file exists; of several callers at once, one succeeds.

    Raises:
        WorkerTokenError: The folder cannot be written to.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor, not a path
                file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a link never replaces the file of another control plane.
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        finally:
            Path(name).unlink()
    except OSError as error:
        raise WorkerTokenError(
            f"cannot create the worker token {path}: {error.strerror}; create it yourself "
            f"(`openssl rand -base64 33`, mode 0600), or let {VARIABLE} name a file elsewhere"
        ) from error


def _parsed(path: Path, content: bytes) -> str:
    text = content.decode("latin-1").strip()
    if not re.fullmatch(rf"[!-~]{{{MIN_CHARACTERS},{_MAX_BYTES}}}", text):
        raise WorkerTokenError(
            f"the worker token {path} is not {MIN_CHARACTERS} or more letters, digits and signs on "
            "one line: remove the file, and the control plane creates a new one when it starts"
        )
    return text


def _version(path: Path) -> tuple[int, int, int]:
    """Return a value that changes with the file's content."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_ino, status.st_size
