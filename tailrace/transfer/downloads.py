"""Download jobs: from blobs to a file or a folder."""

from __future__ import annotations

import hashlib
import os
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from tailrace.errors import DataLoss
from tailrace.formats.canonical import sha256_file
from tailrace.formats.listing import FileEntry, is_sha256, listing_digest, listing_violations
from tailrace.transfer.steps import Job, Receive, Resume, Work
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

_Stub = artifact_pb2_grpc.ArtifactServiceStub


def download_blob(sha256: str, size_bytes: int, target: Path) -> Job[None]:
    """Download a blob to the file ``target``, which appears only once it is complete and verified.

    Missing parent folders are created.

    Raises:
        TailraceError: A call failed; ``DataLoss`` if the content does not match.
        OSError: The file cannot be written.
        ValueError: ``sha256`` is not a sha256.
    """
    if not is_sha256(sha256):
        raise ValueError(f"{sha256!r} is not a lower-case hex sha256")
    incoming = yield Work(lambda: _Incoming(target, size_bytes))
    try:
        yield Resume(lambda: _receive(incoming, sha256, size_bytes))
        yield Work(lambda: incoming.finish(sha256))
    finally:
        incoming.discard()


def download_artifact(artifact: artifact_pb2.Artifact, folder: Path) -> Job[None]:
    """Download an artifact's files into ``folder``.

    The listing is first compared with the artifact's name and the path rules: no file is written
    outside the folder, not even through links in it. Files with the right content stay; others of
    the same name are replaced.

    Raises:
        TailraceError: A call failed; ``DataLoss`` if listing or content do not match.
        OSError: A file cannot be written.
        ValueError: A path leads out of the folder through a link.
    """
    entries = [FileEntry(file.path, file.sha256, file.size_bytes) for file in artifact.files]
    _check_listing(artifact.name, entries)
    for entry in entries:
        if not (yield Work(partial(_is_there, folder, entry))):
            yield from download_blob(entry.sha256, entry.size_bytes, folder / entry.path)


class _Incoming:
    """A file that is being received and hashed, under a temporary name next to its target."""

    def __init__(self, target: Path, size_bytes: int) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path = target.with_name(f".incoming-{uuid.uuid4().hex}")
        self._file = self._path.open("xb", buffering=0)
        self._target = target
        self._hash = hashlib.sha256()
        self._size_bytes = size_bytes
        self.received = 0

    def append(self, response: Any) -> None:
        """Store and hash the next bytes.

        Raises:
            DataLoss: They exceed the requested size.
        """
        if self.received + len(response.data) > self._size_bytes:
            raise DataLoss(f"more than the {self._size_bytes} expected bytes arrived")
        view = memoryview(response.data)
        while view:
            written = self._file.write(view)
            self._hash.update(view[:written])
            self.received += written
            view = view[written:]

    def finish(self, sha256: str) -> None:
        """Move the file to its target if size and digest match.

        Raises:
            DataLoss: They do not.
        """
        if (self.received, self._hash.hexdigest()) != (self._size_bytes, sha256):
            raise DataLoss(
                f"blobs/{sha256} arrived with {self.received} bytes and sha256 "
                f"{self._hash.hexdigest()}, not the expected {self._size_bytes} bytes"
            )
        os.fsync(self._file.fileno())
        self._path.replace(self._target)

    def discard(self) -> None:
        """Close the file, and remove it unless it was finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _receive(incoming: _Incoming, sha256: str, size_bytes: int) -> Job[None]:
    left = size_bytes - incoming.received
    if not left:
        return
    request = artifact_pb2.ReadRequest(
        resource_name=f"blobs/{sha256}", read_offset=incoming.received
    )
    yield Receive(lambda channel: _Stub(channel).Read, request, incoming.append, left)


def _check_listing(name: str, entries: list[FileEntry]) -> None:
    violations = listing_violations(entries)
    if violations:
        wrong = "; ".join(f"{v.field}: {v.description}" for v in violations[:10])
        raise DataLoss(f"{name} lists invalid files: {wrong}", violations=violations)
    digest = listing_digest(entries)
    if name != f"artifacts/{digest}":
        raise DataLoss(f"{name} lists files that do not match its name (artifacts/{digest})")


def _is_there(folder: Path, entry: FileEntry) -> bool:
    """Return True if the file is in place.

    Raises:
        ValueError: A link leads out of the folder.
    """
    target = folder / entry.path
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{target.parent} leads out of {folder} through a link: remove it")
    if target.is_symlink() or not target.is_file():
        return False
    return target.stat().st_size == entry.size_bytes and sha256_file(target) == entry.sha256
