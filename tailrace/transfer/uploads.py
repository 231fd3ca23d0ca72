"""Uploads: a file or a folder becomes blobs."""

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
from tailrace.transfer.steps import Ask, Job, Resume, Send, Work
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc

_Stub = artifact_pb2_grpc.ArtifactServiceStub

_HUB_REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")


def upload_file(source: Path) -> Job[artifact_pb2.ArtifactFile]:
    """Upload one file; its entry's path is the file's name.

    A later call, also of another process on this host, continues an upload that broke off. Content
    that is there already is not sent again. Raises :class:`tailrace.errors.TailraceError` and
    ``OSError``.
    """
    sha256, size = yield Work(lambda: (sha256_file(source), source.stat().st_size))
    # Asked apart, so that a server that was never there is noticed soon; one that goes away later
    # is waited for.
    status = yield _ask(_steady_name(sha256, size))
    if not status.complete:
        yield Resume(lambda: _upload(source, sha256, size))
    return artifact_pb2.ArtifactFile(path=source.name, sha256=sha256, size_bytes=size)


def upload_folder(
    folder: Path, include: Callable[[str], bool] | None = None
) -> Job[list[artifact_pb2.ArtifactFile]]:
    """Upload a folder's files and return their entries, sorted by path.

    ``include`` gets each path relative to the folder, with ``/`` between segments, and says whether
    the file belongs to it. Links to folders are not followed; links to files are where they stay
    within the folder, or within the repository of a Hugging Face cache that it is a snapshot of.
    Raises as :func:`upload_file`, and ``ValueError`` for other links, a folder without files and
    names that an artifact cannot hold.
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
    status = yield _ask(name)
    if status.complete:
        return
    offset = status.committed_size
    try:
        yield _send(name, source, offset, size)
    except grpc.RpcError as error:
        if not _needs_fresh_name(error, offset):
            raise
        yield _send(_resource_name(uuid.uuid4(), sha256, size), source, 0, size)


def _ask(name: str) -> Ask:
    request = artifact_pb2.QueryWriteStatusRequest(resource_name=name)
    return Ask(lambda channel: _Stub(channel).QueryWriteStatus, request)


def _needs_fresh_name(error: grpc.RpcError, offset: int) -> bool:
    """Whether an upload of its own would succeed where continuing a common one did not.

    Somebody else on this host is writing it, it was swept meanwhile, or what an earlier try left
    there is damaged.
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
            data = file.read(min(CHUNK_BYTES, size - offset))
            # A file that shrank meanwhile is finished too: the server then refuses its size.
            last = offset + len(data) == size or not data
            yield artifact_pb2.WriteRequest(
                resource_name=name, write_offset=offset, data=data, finish_write=last
            )
            offset += len(data)
            if last:
                return


def _steady_name(sha256: str, size: int) -> str:
    """The same name on every try of this user on this host, so that an upload can be resumed.

    Others cannot guess it, and so cannot append to the upload or spoil it.
    """
    digest = hmac.digest(_secret(), f"{sha256}/{size}".encode(), "sha256")
    return _resource_name(uuid.UUID(bytes=digest[:16], version=4), sha256, size)


@functools.cache
def _secret() -> bytes:
    """A secret of this user on this host; of this process alone where none can be stored."""
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
    homes = _homes(folder.resolve())
    found = []
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if include is not None and not include(path):
                continue
            problem = path_problem(path) or _file_problem(file, homes)
            if problem is not None:
                raise ValueError(f"{str(file)!r} {problem}")
            found.append(path)
    if not found:
        raise ValueError(f"there is no file to upload in {folder}")
    return sorted(found)


def _homes(folder: Path) -> list[Path]:
    """Where links may lead: into the folder, and from a snapshot in a hub cache to its blobs.

    The layout is ``models--ORG--NAME/{snapshots/REVISION,blobs}`` (huggingface_hub, "Understand
    caching").
    """
    repository = folder.parent.parent
    if folder.parent.name == "snapshots" and _HUB_REPOSITORY.fullmatch(repository.name):
        return [folder, repository / "blobs"]
    return [folder]


def _file_problem(file: Path, homes: list[Path]) -> str | None:
    if not file.is_file():
        return "is a link to nothing" if file.is_symlink() else "is not a regular file"
    target = file.resolve()
    if file.is_symlink() and not any(target.is_relative_to(home) for home in homes):
        # Content from elsewhere on this machine must not be uploaded unawares.
        return "is a link that leads out of the folder: put a copy in its place, or remove it"
    return None


def _raise(error: OSError) -> None:
    raise error
