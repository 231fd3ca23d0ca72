"""Files to move, and what the control plane makes of them."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tailrace.formats.listing import FileEntry, listing_digest
from tailrace.transfer import uploads
from tailrace.v1 import artifact_pb2

MAX_BLOB_BYTES = 60_000_000
"""The control plane's limit in these tests."""


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def noise(size: int, seed: object) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def artifact_of(files: list[artifact_pb2.ArtifactFile]) -> artifact_pb2.Artifact:
    digest = listing_digest(FileEntry(f.path, f.sha256, f.size_bytes) for f in files)
    return artifact_pb2.Artifact(name=f"artifacts/{digest}", files=files)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def entry_for(content: bytes, path: str = "file") -> artifact_pb2.ArtifactFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return artifact_pb2.ArtifactFile(path=path, sha256=sha256, size_bytes=len(content))


def steady_upload(folder: Path, content: bytes) -> Path:
    """Return the path of this host's partial upload on the control plane."""
    entry = entry_for(content)
    name = uploads._steady_name(entry.sha256, entry.size_bytes)
    uuid = name.split("/")[1]
    return folder / "uploads" / f"{uuid}.{entry.sha256}.{entry.size_bytes}"


def when(condition: Callable[[], bool], do: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a condition holds, from another thread."""

    def run() -> None:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                return
            time.sleep(0.0005)
        do()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
