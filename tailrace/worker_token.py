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

from tailrace.private_file import MAX_SECRET_BYTES, FollowedSecret, read_private

VARIABLE = "TAILRACE_WORKER_TOKEN_FILE"
"""Environment variable with the path of the file, for control planes and workers."""

FILE_NAME = "worker-token"
"""Name of the file in a control plane's data folder, unless the variable names another file."""

MIN_CHARACTERS = 32
"""Minimum length of a token, which must be impossible to guess."""

HEADER = "authorization"
"""Metadata key of the token."""

LEASE_HEADER = "tailrace-lease"
"""Metadata key of the lease token with which a worker reads and uploads for its lease's run."""

SCHEME = "Bearer "
"""Text before the token in the metadata's value (RFC 6750)."""

Metadata = tuple[tuple[str, str], ...]
"""Metadata of a call in gRPC's form."""

_TOKEN_BYTES = 32


class WorkerTokenError(ValueError):
    """Error of an unusable token file; the message names the file, the error and the way out."""


class WorkerToken(FollowedSecret):
    """Token of a file, which may be replaced.

    Raises:
        WorkerTokenError: The file is missing, open to others, or holds no token.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, read)

    def metadata(self) -> Metadata:
        """Return the metadata that a call carries."""
        return ((HEADER, f"{SCHEME}{self.value}"),)


def bearer(metadata: Metadata) -> str:
    """Return the token in a call's metadata; empty if there is none."""
    for name, value in metadata:
        if name == HEADER and isinstance(value, str) and value.startswith(SCHEME):
            return value.removeprefix(SCHEME)
    return ""


def read(path: Path) -> str:
    """Return the token of a file.

    Raises:
        WorkerTokenError: The file is missing, open to others, or holds no token.
    """
    try:
        content = read_private(path, "the worker token")
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
    except ValueError as error:
        raise WorkerTokenError(str(error)) from error
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
    if not re.fullmatch(rf"[!-~]{{{MIN_CHARACTERS},{MAX_SECRET_BYTES}}}", text):
        raise WorkerTokenError(
            f"the worker token {path} is not {MIN_CHARACTERS} or more letters, digits and signs on "
            "one line: remove the file, and the control plane creates a new one when it starts"
        )
    return text
