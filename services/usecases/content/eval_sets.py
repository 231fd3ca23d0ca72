"""Import of eval sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from services.domain.caller import Caller
from services.domain.content.artifact import Listing
from services.domain.content.eval_set import EVAL_SET_FILE, EvalSet, EvalSetHeader, EvalSetReference
from services.storage.rows.access import audit
from services.storage.rows.versions import EVAL_SETS
from services.usecases.content.line_import import LineKind, check_lines, put
from services.usecases.content.versions import Versions
from services.usecases.context import Context
from services.usecases.quotas.content import check_listings
from tailrace.formats.data.eval_item import scan_eval_items
from tailrace.formats.data.jsonl import LineErrors

MAX_BYTES = 1 << 30
"""Maximum size of an eval set, in bytes."""

VERSIONS = Versions(EVAL_SETS, EvalSetReference, "spec.infer.eval_sets")
"""Versions of eval sets, by the names in calls and run specs."""


def _prompts(lines: Iterable[bytes], errors: LineErrors, folder: Path | None) -> Iterator[str]:
    return (eval_item.shown_prompt for eval_item in scan_eval_items(lines, errors))


ITEMS = LineKind("eval set", "items", 100_000, "EVAL_SET_TOO_LARGE", _prompts)
"""Lines of an imported eval set; a stage loads all of them into memory."""


async def import_lines(
    context: Context, caller: Caller, header: EvalSetHeader, chunks: AsyncIterator[bytes]
) -> EvalSet:
    """Import JSON lines of eval items, all or nothing, with bounded memory.

    Content equal to the newest version returns that version. Raises what :func:`check_lines` does.
    """
    limit = min(MAX_BYTES, context.settings.max_dataset_bytes)
    async with check_lines(context, caller, ITEMS, chunks, limit) as (lines, file):
        blobs = context.blobs.of(caller.project)
        listing = Listing.of([await put(blobs, EVAL_SET_FILE, file)])
    async with context.database.write() as conn:
        await check_listings(conn, context, caller.project, [listing])
        version, is_new = await EVAL_SETS.add(conn, caller.project, header, lines, listing)
        if is_new:
            await audit.record(conn, caller, version.name)
    return version
