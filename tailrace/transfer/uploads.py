"""Upload jobs: from a file or a folder to blobs."""

from __future__ import annotations

import functools
import hmac
import os
import re
import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from tailrace import worker_token
from tailrace.errors import InvalidArgument, from_rpc
from tailrace.formats.canonical import sha256_file
from tailrace.formats.limits import CHUNK_BYTES
from tailrace.formats.listing import path_problem
from tailrace.transfer.steps import Job, Request, Resume, Send, Work
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

_Stub = artifact_pb2_grpc.ArtifactServiceStub

_HUB_REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")


def upload_file(source: Path) -> Job[artifact_pb2.ArtifactFile]:
    """Upload one file, and return its entry, whose path is the file's name.

    A later call, even by another process on this host, continues an upload that broke off. Content
    that the server has is not sent again.

    Raises:
        TailraceError: A call failed.
        OSError: The file cannot be read.
    """
    sha256, size = yield Work(lambda: (sha256_file(source), source.stat().st_size))
    # Outside of the step that resumes, so that a server that was never there is noticed soon; one
    # that goes away later is waited for.
    status = yield _query_status(_steady_name(sha256, size))
    if not status.complete:
        yield Resume(lambda: _upload(source, sha256, size))
    return artifact_pb2.ArtifactFile(path=source.name, sha256=sha256, size_bytes=size)


def upload_folder(
    folder: Path, include: Callable[[str], bool] | None = None
) -> Job[list[artifact_pb2.ArtifactFile]]:
    """Upload a folder's files, and return their entries, sorted by path.

    Links to folders are not followed. Links to files are followed within the folder, and within the
    repository of a Hugging Face cache if the folder is one of its snapshots.

    Args:
        folder: Folder to upload.
        include: Predicate of a path below the folder, with ``/`` between segments (default: all).

    Raises:
        TailraceError: A call failed.
        OSError: A file cannot be read.
        ValueError: A link leads out, the folder has no files, or an artifact cannot hold a name.
    """
    paths = yield Work(lambda: _files(folder, include))
    entries = []
    for path in paths:
        entry = yield from upload_file(folder / path)
        entry.path = path
        entries.append(entry)
    return entries


def _upload(source: Path, sha256: str, size: int) -> Job[None]:
    name = _steady_name(sha256, size)
    status = yield _query_status(name)
    if status.complete:
        return
    offset = status.committed_size
    try:
        yield _send(name, source, offset, size)
    except grpc.RpcError as error:
        if not _needs_fresh_name(error, offset):
            raise
        yield _send(_resource_name(uuid.uuid4(), sha256, size), source, 0, size)


def _query_status(name: str) -> Request:
    request = artifact_pb2.QueryWriteStatusRequest(resource_name=name)
    return Request(lambda channel: _Stub(channel).QueryWriteStatus, request)


def _needs_fresh_name(error: grpc.RpcError, offset: int) -> bool:
    """Return True if an upload under a fresh name can succeed after the shared one failed.

    Another process on this host is writing to the shared upload, the server swept it meanwhile, or
    an earlier attempt left damaged content.
    """
    typed = from_rpc(error)
    if typed.reason in ("UPLOAD_BUSY", "WRITE_OFFSET_MISMATCH"):
        return True
    return isinstance(typed, InvalidArgument) and offset > 0


def _send(name: str, source: Path, offset: int, size: int) -> Send:
    return Send(
        lambda channel: _Stub(channel).Write,
        lambda: _requests(name, source, offset, size),
        size - offset,
    )


def _requests(
    name: str, source: Path, offset: int, size: int
) -> Iterator[artifact_pb2.WriteRequest]:
    with source.open("rb") as file:
        file.seek(offset)
        while True:
            chunk = file.read(min(CHUNK_BYTES, size - offset))
            # A file that shrank meanwhile is finished, too: the server then refuses its size.
            is_last = offset + len(chunk) == size or not chunk
            yield artifact_pb2.WriteRequest(
                resource_name=name, write_offset=offset, data=chunk, finish_write=is_last
            )
            offset += len(chunk)
            if is_last:
                return


def _steady_name(sha256: str, size: int) -> str:
    """Return the name that each attempt of this user on this host has, so that it can resume.

    Other users cannot guess the name, so that they can neither append to the upload nor spoil it.
    """
    digest = hmac.digest(_secret(), f"{sha256}/{size}".encode(), "sha256")
    return _resource_name(uuid.UUID(bytes=digest[:16], version=4), sha256, size)


@functools.cache
def _secret() -> bytes:
    """Return the secret of this user on this host, or of this process if none can be stored."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        path = Path(state) / "tailrace" / "upload-secret"
        worker_token.make(path)
        return worker_token.read(path).encode()
    except (worker_token.WorkerTokenError, RuntimeError):
        return secrets.token_bytes(32)


def _resource_name(upload: uuid.UUID, sha256: str, size: int) -> str:
    return f"uploads/{upload}/blobs/{sha256}/{size}"


def _files(folder: Path, include: Callable[[str], bool] | None) -> list[str]:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    targets = _link_targets(folder.resolve())
    paths = []
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if include is not None and not include(path):
                continue
            problem = path_problem(path) or _file_problem(file, targets)
            if problem is not None:
                raise ValueError(f"{str(file)!r} {problem}")
            paths.append(path)
    if not paths:
        raise ValueError(f"there is no file to upload in {folder}")
    return sorted(paths)


def _link_targets(folder: Path) -> list[Path]:
    """Return the folders that links may lead to: the folder, and the blobs of its hub cache.

    The cache's layout is ``models--ORG--NAME/{snapshots/REVISION,blobs}`` (huggingface_hub,
    "Understand caching").
    """
    repository = folder.parent.parent
    if folder.parent.name == "snapshots" and _HUB_REPOSITORY.fullmatch(repository.name):
        return [folder, repository / "blobs"]
    return [folder]


def _file_problem(file: Path, targets: list[Path]) -> str | None:
    if not file.is_file():
        return "is a broken link" if file.is_symlink() else "is not a regular file"
    target = file.resolve()
    if file.is_symlink() and not any(target.is_relative_to(folder) for folder in targets):
        # Content from elsewhere on this machine must not be uploaded by accident.
        return "is a link that leads out of the folder: put a copy in its place, or remove it"
    return None


def _raise(error: OSError) -> None:
    raise error
