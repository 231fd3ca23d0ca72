"""Seeding, importing and reading datasets."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.artifact import Artifact, Listing
from services.domain.dataset import (
    DATASET_FILE,
    MANIFEST_FILE,
    Dataset,
    DatasetContent,
    DatasetHeader,
    DatasetReference,
)
from services.domain.errors import NotFound, ResourceExhausted
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage import datasets as store
from services.storage.answers import for_good, once
from services.usecases.context import Context
from services.usecases.line_import import CountedLines, Prompts, bad_lines, put, rewind, spooled
from tailrace.formats import golden
from tailrace.formats.canonical import canonical_json
from tailrace.formats.jsonl import FormatError, LineErrors
from tailrace.formats.trace import scan_traces

DEFAULT_PAGE = 100
"""Entries of a page when the request does not say."""

MAX_TRACES = 1_000_000
"""Most traces of one dataset; bounds what checking ids and prompts keeps in memory."""

GOLDEN_DESCRIPTION = "100 deterministic synthetic traces: additions and word repetitions."
"""Description of golden-v2."""


async def seed(context: Context, project: str, dataset_id: str) -> Dataset:
    """Make a built-in dataset; doing it twice changes nothing. Raises ``NotFound``."""
    if dataset_id != golden.NAME:
        raise NotFound(
            "DATASET_NOT_FOUND",
            f"there is no built-in dataset {dataset_id[:200]!r}; there is: {golden.NAME}",
        )
    data = golden.golden_v2_bytes()
    header = DatasetHeader(dataset_id, GOLDEN_DESCRIPTION)
    content = await asyncio.to_thread(_scan, io.BytesIO(data), threading.Event())
    manifest = golden.golden_v2_manifest()
    return await _store(context, project, header, content, io.BytesIO(data), manifest)


async def import_lines(
    context: Context, project: str, header: DatasetHeader, data: AsyncIterator[bytes]
) -> Dataset:
    """Import JSON lines of traces, all or nothing, in bounded memory.

    Content equal to the newest version's returns that version.

    Raises ``InvalidInput`` (each bad line as ``line N``, at most 100 of them) and
    ``ResourceExhausted`` (DATASET_TOO_LARGE).
    """
    limit = context.settings.max_dataset_bytes
    async with spooled(context, data, limit, _too_large(f"{limit} bytes")) as spool:
        stop = threading.Event()
        try:
            content = await asyncio.to_thread(_scan, spool, stop)
        except FormatError as error:
            raise bad_lines(error) from error
        finally:
            # A cancelled call leaves the thread behind, which shall not read on for minutes.
            stop.set()
        manifest = {
            "name": header.dataset_id,
            "file": DATASET_FILE,
            "sha256": content.sha256,
            "bytes": content.size_bytes,
            "traces": content.trace_count,
            "distinct_prompts": content.prompt_count,
        }
        await rewind(spool)
        return await _store(context, project, header, content, spool, manifest)


async def get(context: Context, project: str, name: str) -> Dataset:
    """The version that ``datasets/{dataset}[@{version}]`` names.

    Raises ``InvalidInput`` and ``NotFound``.
    """
    reference = DatasetReference.parse_name(name)
    async with context.database.read() as conn:
        return await store.get(conn, project, reference)


async def resolve(
    conn: AsyncConnection, project: str, reference: str, field: str = "spec.dataset"
) -> Dataset:
    """The version that a run spec's ``name`` or ``name@version`` means now.

    Raises ``InvalidInput`` at ``field`` and ``NotFound``.
    """
    wanted = DatasetReference.parse(reference, field)
    ask = once if wanted.version is None else for_good
    return await ask(conn, store.get, project, wanted)


async def artifact(conn: AsyncConnection, project: str, reference: str) -> Artifact:
    """The files of the version that a resolved spec names. Raises ``NotFound``."""
    pinned = DatasetReference.parse(reference, "spec.dataset")
    return await for_good(conn, store.artifact, project, pinned)


async def list_newest(
    context: Context, project: str, *, size: int, token: str
) -> tuple[list[Dataset], str]:
    """A page of the newest versions, by id, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "datasets", [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        rows = await store.page(
            conn, project, after=position[0] if position else "", limit=limit + 1
        )
    found = rows[:limit]
    more = len(rows) > limit
    return found, encode_page_token([found[-1].dataset_id], "datasets") if more else ""


async def export(context: Context, project: str, name: str) -> AsyncIterator[bytes]:
    """A version's JSON lines in chunks. Raises ``InvalidInput`` and ``NotFound``."""
    dataset = await get(context, project, name)
    async for chunk in context.blobs.read(dataset.content.sha256):
        yield chunk


def _scan(file: BinaryIO, stop: threading.Event) -> DatasetContent:
    """Check and count a dataset's lines. Raises ``FormatError`` and ``ResourceExhausted``."""
    lines, errors, prompts = CountedLines(file, stop), LineErrors(), Prompts()
    traces = 0
    for trace in scan_traces(lines, errors):
        traces += 1
        if traces > MAX_TRACES:
            raise _too_large(f"{MAX_TRACES} traces")
        prompts.add(trace.prompt)
    errors.raise_any()
    return DatasetContent(lines.sha256, lines.size_bytes, traces, len(prompts))


def _too_large(allowed: str) -> ResourceExhausted:
    return ResourceExhausted(
        "DATASET_TOO_LARGE", f"the dataset has more than the {allowed} allowed"
    )


async def _store(
    context: Context,
    project: str,
    header: DatasetHeader,
    content: DatasetContent,
    data: BinaryIO,
    manifest: dict[str, object],
) -> Dataset:
    listing = Listing.of(
        [
            await put(context.blobs, DATASET_FILE, data),
            await put(
                context.blobs,
                MANIFEST_FILE,
                io.BytesIO(f"{canonical_json(manifest)}\n".encode()),
            ),
        ]
    )
    async with context.database.write() as conn:
        return await store.add_version(conn, project, header, content, listing)
