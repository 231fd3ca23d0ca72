"""Importing eval sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from services.domain.caller import Caller
from services.domain.content.artifact import Listing
from services.domain.content.eval_set import EVAL_SET_FILE, EvalSet, EvalSetHeader, EvalSetReference
from services.storage.rows.versions import EVAL_SETS
from services.usecases.content.line_import import LineKind, check_lines, put
from services.usecases.content.versions import Versions
from services.usecases.context import Context
from tailrace.formats.data.eval_item import scan_eval_items
from tailrace.formats.data.jsonl import LineErrors

MAX_BYTES = 1 << 30
"""Largest eval set, in bytes."""

VERSIONS = Versions(EVAL_SETS, EvalSetReference, "spec.infer.eval_sets")
"""Eval sets as calls and run specs name them."""


def _prompts(lines: Iterable[bytes], errors: LineErrors) -> Iterator[str]:
    return (item.prompt for item in scan_eval_items(lines, errors))


ITEMS = LineKind("eval set", "items", 100_000, "EVAL_SET_TOO_LARGE", _prompts)
"""What an import of an eval set takes; a stage keeps all of it in memory."""


async def import_lines(
    context: Context, caller: Caller, header: EvalSetHeader, data: AsyncIterator[bytes]
) -> EvalSet:
    """Import JSON lines of eval items, all or nothing, in bounded memory.

    Content equal to the newest version returns that version. Raises what :func:`check_lines` does.
    """
    limit = min(MAX_BYTES, context.settings.max_dataset_bytes)
    async with check_lines(context, ITEMS, data, limit) as (lines, file):
        listing = Listing.of([await put(context.blobs, EVAL_SET_FILE, file)])
    async with context.database.write() as conn:
        return await EVAL_SETS.add(conn, caller.project, header, lines, listing)
