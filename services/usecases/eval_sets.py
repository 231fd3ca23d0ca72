"""Importing and reading eval sets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.artifact import Artifact, Listing
from services.domain.errors import ResourceExhausted
from services.domain.eval_set import (
    EVAL_SET_FILE,
    EvalSet,
    EvalSetContent,
    EvalSetHeader,
    EvalSetReference,
)
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage import eval_sets as store
from services.storage.answers import for_good, once
from services.usecases.context import Context
from services.usecases.line_import import CountedLines, Prompts, bad_lines, put, rewind, spooled
from tailrace.formats.eval_item import scan_eval_items
from tailrace.formats.jsonl import FormatError, LineErrors

DEFAULT_PAGE = 100
"""Entries of a page when the request does not say."""

MAX_BYTES = 1 << 30
"""Largest eval set, in bytes."""

MAX_ITEMS = 100_000
"""Most items of one eval set; a stage keeps all of them in memory."""


async def import_lines(
    context: Context, project: str, header: EvalSetHeader, data: AsyncIterator[bytes]
) -> EvalSet:
    """Import JSON lines of eval items, all or nothing, in bounded memory.

    Content equal to the newest version's returns that version.

    Raises ``InvalidInput`` (each bad line as ``line N``, at most 100 of them) and
    ``ResourceExhausted`` (EVAL_SET_TOO_LARGE, STORAGE_FULL).
    """
    limit = min(MAX_BYTES, context.settings.max_dataset_bytes)
    async with spooled(context, data, limit, _too_large(f"{limit} bytes")) as spool:
        stop = threading.Event()
        try:
            content = await asyncio.to_thread(_scan, spool, stop)
        except FormatError as error:
            raise bad_lines(error) from error
        finally:
            # A cancelled call leaves the thread behind, which shall not read on for minutes.
            stop.set()
        await rewind(spool)
        listing = Listing.of([await put(context.blobs, EVAL_SET_FILE, spool)])
    async with context.database.write() as conn:
        return await store.add_version(conn, project, header, content, listing)


async def get(context: Context, project: str, name: str) -> EvalSet:
    """The version that ``evalsets/{evalset}[@{version}]`` names.

    Raises ``InvalidInput`` and ``NotFound``.
    """
    reference = EvalSetReference.parse_name(name)
    async with context.database.read() as conn:
        return await store.get(conn, project, reference)


async def resolve(
    conn: AsyncConnection, project: str, reference: str, field: str = "spec.infer.eval_sets"
) -> EvalSet:
    """The version that a run spec's ``name`` or ``name@version`` means now.

    Raises ``InvalidInput`` at ``field`` and ``NotFound``.
    """
    wanted = EvalSetReference.parse(reference, field)
    ask = once if wanted.version is None else for_good
    return await ask(conn, store.get, project, wanted)


async def artifact(conn: AsyncConnection, project: str, reference: str) -> Artifact:
    """The files of the version that a resolved spec names. Raises ``NotFound``."""
    pinned = EvalSetReference.parse(reference, "spec.infer.eval_sets")
    return await for_good(conn, store.artifact, project, pinned)


async def list_newest(
    context: Context, project: str, *, size: int, token: str
) -> tuple[list[EvalSet], str]:
    """A page of the newest versions, by id, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "evalsets", [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        rows = await store.page(
            conn, project, after=position[0] if position else "", limit=limit + 1
        )
    found = rows[:limit]
    more = len(rows) > limit
    return found, encode_page_token([found[-1].eval_set_id], "evalsets") if more else ""


def _scan(file: BinaryIO, stop: threading.Event) -> EvalSetContent:
    """Check and count an eval set's lines. Raises ``FormatError`` and ``ResourceExhausted``."""
    lines, errors, prompts = CountedLines(file, stop), LineErrors(), Prompts()
    items = 0
    for item in scan_eval_items(lines, errors):
        items += 1
        if items > MAX_ITEMS:
            raise _too_large(f"{MAX_ITEMS} items")
        prompts.add(item.prompt)
    errors.raise_any()
    return EvalSetContent(lines.sha256, lines.size_bytes, items, len(prompts))


def _too_large(allowed: str) -> ResourceExhausted:
    return ResourceExhausted(
        "EVAL_SET_TOO_LARGE", f"the eval set has more than the {allowed} allowed"
    )
