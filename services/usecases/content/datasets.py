"""Seeding, import and export of datasets."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from services.domain.caller import Caller
from services.domain.content.artifact import Listing
from services.domain.content.dataset import (
    DATASET_FILE,
    MANIFEST_FILE,
    Dataset,
    DatasetHeader,
    DatasetReference,
)
from services.domain.content.version import Lines
from services.domain.errors import NotFound
from services.storage.rows.access import audit
from services.storage.rows.versions import DATASETS
from services.usecases.content.line_import import LineKind, check_lines, put, scan
from services.usecases.content.versions import Versions
from services.usecases.context import Context
from services.usecases.quotas.content import check_listings
from tailrace.formats.canonical import canonical_json
from tailrace.formats.data import golden
from tailrace.formats.data.dataset_file import MAX_LINES, detect_kind, scan_records
from tailrace.formats.data.jsonl import LineErrors, bounded_lines
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import to_mapping

GOLDEN_DESCRIPTION = "100 deterministic synthetic traces: additions and word repetitions."
"""Description of golden-v2."""

VERSIONS = Versions(DATASETS, DatasetReference, "spec.dataset")
"""Versions of datasets, by the names in calls and run specs."""


def line_kind(kind: DatasetKind | None) -> LineKind:
    """Return the checks for lines of a kind, or of the kind that the first line has."""

    def prompts(lines: Iterable[bytes], errors: LineErrors, folder: Path | None) -> Iterator[str]:
        return (record.split_key for _, record in scan_records(lines, errors, kind, folder))

    return LineKind("dataset", "lines", MAX_LINES, "DATASET_TOO_LARGE", prompts)


async def seed(context: Context, caller: Caller, dataset_id: str) -> Dataset:
    """Create a built-in dataset; repeating it changes nothing. Raises ``NotFound``."""
    if dataset_id != golden.NAME:
        raise NotFound(
            "DATASET_NOT_FOUND",
            f"there is no built-in dataset {dataset_id[:200]!r}; there is: {golden.NAME}",
        )
    content = golden.golden_v2_bytes()
    header = DatasetHeader(dataset_id, GOLDEN_DESCRIPTION, DatasetKind.TRACE)
    checks = line_kind(DatasetKind.TRACE)
    lines = await asyncio.to_thread(scan, checks, io.BytesIO(content), threading.Event())
    manifest = golden.golden_v2_manifest()
    return await _store(context, caller, header, lines, io.BytesIO(content), manifest)


async def import_lines(
    context: Context, caller: Caller, header: DatasetHeader, chunks: AsyncIterator[bytes]
) -> Dataset:
    """Import JSON lines of one kind, all or nothing, with bounded memory.

    Content equal to the newest version returns that version. Raises what :func:`check_lines` does.
    """
    limit = context.settings.max_dataset_bytes
    async with check_lines(context, caller, line_kind(header.kind), chunks, limit) as (
        lines,
        file,
    ):
        kind = header.kind or await asyncio.to_thread(_first_kind, file)
        header = dataclasses.replace(header, kind=kind)
        manifest = {
            "name": header.id,
            "kind": str(kind),
            "file": DATASET_FILE,
            "sha256": lines.sha256,
            "bytes": lines.size_bytes,
            "lines": lines.count,
            "distinct_prompts": lines.prompt_count,
        }
        if header.lineage is not None:
            manifest["lineage"] = to_mapping(header.lineage)
        return await _store(context, caller, header, lines, file, manifest)


def _first_kind(file: BinaryIO) -> DatasetKind:
    """Return the kind of the first line of an open file, which is rewound."""
    first = next((line for line in bounded_lines(file) if line.strip()), b"")
    file.seek(0)
    return detect_kind(first)


async def export(context: Context, caller: Caller, name: str) -> AsyncIterator[bytes]:
    """Yield a version's JSON lines in chunks. Raises ``InvalidInput`` and ``NotFound``."""
    dataset = await VERSIONS.get(context, caller, name)
    async for chunk in context.blobs.of(caller.project).read(dataset.lines.sha256):
        yield chunk


async def _store(
    context: Context,
    caller: Caller,
    header: DatasetHeader,
    lines: Lines,
    content: BinaryIO,
    manifest: dict[str, object],
) -> Dataset:
    described = io.BytesIO(f"{canonical_json(manifest)}\n".encode())
    blobs = context.blobs.of(caller.project)
    listing = Listing.of(
        [
            await put(blobs, DATASET_FILE, content),
            await put(blobs, MANIFEST_FILE, described),
        ]
    )
    async with context.database.write() as conn:
        await check_listings(conn, context, caller.project, [listing])
        version, is_new = await DATASETS.add(conn, caller.project, header, lines, listing)
        if is_new:
            await audit.record(conn, caller, version.name)
    return version
