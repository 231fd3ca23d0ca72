"""Upload of blobs and reading of artifacts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.domain.caller import Caller
from services.domain.content.artifact import Artifact, Listing, UploadName, parse_artifact_name
from services.domain.errors import (
    FailedPrecondition,
    InvalidInput,
    ResourceExhausted,
)
from services.domain.pages import artifact_size, take_fitting
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage.blobs.store import CHUNK_BYTES, UploadStatus
from services.storage.rows import artifacts as store
from services.storage.rows import runs
from services.storage.rows.access import audit
from services.usecases.context import Context
from services.usecases.quotas.content import check_upload, count_upload
from tailrace.formats.listing import FileEntry
from tailrace.formats.schema import Violation
from tailrace.formats.stage_protocol import ArtifactKind

DEFAULT_PAGE = 100
"""Default page size."""

MISSING_SHOWN = 20
"""Maximum number of missing blobs that an error names."""


@dataclass(frozen=True)
class WriteChunk:
    """Message of an upload."""

    offset: int
    """Position of ``data`` in the blob."""
    data: bytes
    """Next bytes of the blob."""
    finish: bool
    """True if the blob ends after ``data``."""


async def upload_status(context: Context, caller: Caller, name: str) -> UploadStatus:
    """Return the progress of an upload. Raises ``InvalidInput`` and ``ResourceExhausted``."""
    return await context.blobs.of(caller.project).upload_status(_upload_name(context, name))


def read(
    context: Context, caller: Caller, sha256: str, offset: int, limit: int
) -> AsyncIterator[bytes]:
    """Yield a blob's bytes in chunks, see :meth:`BlobStore.read`."""
    return context.blobs.of(caller.project).read(sha256, offset, limit)


async def write(
    context: Context, caller: Caller, name: str, chunks: AsyncIterator[WriteChunk]
) -> int:
    """Store an upload's next chunks and return the number of stored bytes.

    A stream that ends without ``finish`` leaves the upload to a later stream. A complete blob
    ignores the chunks.

    Raises:
        InvalidInput: The name, size or sha256 is not valid.
        FailedPrecondition: A chunk does not follow the stored bytes (WRITE_OFFSET_MISMATCH).
        ResourceExhausted: The blob or the disk has no room (BLOB_TOO_LARGE, STORAGE_FULL).
        QuotaExceeded: The project has no room (TOO_MANY_STORED_BYTES, TOO_MANY_UPLOAD_BYTES).
        Unavailable: Another stream writes the upload (UPLOAD_BUSY).
    """
    upload = _upload_name(context, name)
    blobs = context.blobs.of(caller.project)
    status = await blobs.upload_status(upload)
    first = await anext(chunks, None)
    if status.complete or first is None:
        return status.committed
    async with (
        _counted(context, caller, upload),
        blobs.append(upload, first.offset) as writer,
    ):
        async for chunk in _from(first, chunks):
            if chunk.offset != writer.committed:
                raise FailedPrecondition(
                    "WRITE_OFFSET_MISMATCH",
                    f"write_offset is {chunk.offset}, but {writer.committed} bytes are committed",
                )
            if len(chunk.data) > CHUNK_BYTES:
                raise InvalidInput.field(
                    "data", f"has {len(chunk.data)} bytes, at most {CHUNK_BYTES} in one message"
                )
            await writer.write(chunk.data)
            if chunk.finish:
                await writer.verify()
                await _record_upload(context, caller, upload)
                await writer.finish()
                break
        return writer.committed


@asynccontextmanager
async def _counted(context: Context, caller: Caller, upload: UploadName) -> AsyncIterator[None]:
    """Count a client's upload against its project's quotas until the end of the block.

    A worker uploads for the project of its lease, which registration checks.
    """
    if caller.is_worker:
        yield
        return
    size = upload.blob.size_bytes
    await check_upload(context, caller.project, size)
    with count_upload(context, caller.project) as counted:
        counted.add(size)
        yield


async def check_listing(
    context: Context, project: str, files: Sequence[FileEntry], field: str = "files"
) -> Listing:
    """Return a listing with valid paths and size whose blobs the project has.

    Call it before the transaction that records the listing: the store may be slow.

    Raises:
        InvalidInput: Names every wrong field.
        FailedPrecondition: Blobs are missing (BLOB_MISSING); names them.
    """
    # Ten thousand paths and their digest would delay other calls.
    listing = await asyncio.to_thread(Listing.of, files, field)
    _check_size(listing, context.settings.max_artifact_bytes, field)
    sizes = await context.blobs.of(project).sizes(file.sha256 for file in listing.files)
    missing = [file for file in listing.files if file.sha256 not in sizes]
    if missing:
        names = ", ".join(f"{file.path} (blobs/{file.sha256})" for file in missing[:MISSING_SHOWN])
        more = len(missing) - MISSING_SHOWN
        raise FailedPrecondition(
            "BLOB_MISSING",
            f"not uploaded: {names}{f' and {more} more' if more > 0 else ''}",
        )
    violations = [
        Violation(
            f"{field}[{i}].size_bytes",
            f"is {file.size_bytes}, but blobs/{file.sha256} has {sizes[file.sha256]} bytes",
        )
        for i, file in enumerate(files)
        if file.size_bytes != sizes[file.sha256]
    ]
    if violations:
        raise InvalidInput(violations)
    return listing


def _check_size(listing: Listing, most: int, field: str) -> None:
    if listing.size_bytes > most:
        raise InvalidInput.field(
            field, f"has {listing.size_bytes} bytes in total, at most {most} allowed"
        )


async def get(context: Context, caller: Caller, name: str) -> Artifact:
    """Return an artifact. Raises ``InvalidInput`` and ``NotFound``."""
    digest = parse_artifact_name(name)
    async with context.database.read() as conn:
        return await store.get(conn, caller.project, digest)


async def list_for_run(
    context: Context,
    caller: Caller,
    run_id: str,
    *,
    kind: ArtifactKind | None,
    size: int,
    token: str,
) -> tuple[list[Artifact], str]:
    """Return a page of a run's artifacts, oldest first, and the next page's token.

    Raises ``InvalidInput`` and ``NotFound`` (the run).
    """
    query = ["artifacts", caller.project, run_id, kind]
    position = decode_page_token(token, query, [int])
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        run = await runs.get(conn, caller.project, run_id)
        rows = await store.page_for_run(
            conn,
            caller.project,
            run.uid,
            kind=kind,
            after=position[0] if position else 0,
            limit=limit + 1,
        )
    page = take_fitting([(artifact_size(row[1]), row) for row in rows], limit)
    token = encode_page_token([page[-1][0]], query) if len(page) < len(rows) else ""
    return [artifact for _, artifact in page], token


async def sweep_uploads(context: Context) -> int:
    """Remove abandoned uploads and return their number."""
    return await context.blobs.drop_stale_uploads(context.settings.upload_expiry_seconds)


async def _record_upload(context: Context, caller: Caller, upload: UploadName) -> None:
    """Record a client's upload before its bytes become readable.

    Files are not part of a transaction: after a crash in between, the event is there, and the
    client uploads again. Workers upload under a lease, which names them.
    """
    if not caller.is_worker:
        async with context.database.write() as conn:
            await audit.record(conn, caller, f"blobs/{upload.blob.sha256}")


def _upload_name(context: Context, name: str) -> UploadName:
    upload = UploadName.parse(name)
    limit = context.settings.max_blob_bytes
    if upload.blob.size_bytes > limit:
        raise ResourceExhausted(
            "BLOB_TOO_LARGE",
            f"the blob has {upload.blob.size_bytes} bytes, at most {limit} allowed",
        )
    return upload


async def _from(first: WriteChunk, rest: AsyncIterator[WriteChunk]) -> AsyncIterator[WriteChunk]:
    yield first
    async for chunk in rest:
        yield chunk
