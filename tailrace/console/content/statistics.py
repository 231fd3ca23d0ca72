"""Statistics of the first lines of a dataset, measured off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailrace.console.content.lines import FirstLines
from tailrace.datasets.inspection.shared_words import SharedWords
from tailrace.datasets.inspection.similar_lines import SHOWN_PAIRS, SimilarLines, SimilarPair
from tailrace.datasets.inspection.stats import Stats, measure
from tailrace.formats.data.eval_item import EvalItem

_ONE_AT_A_TIME = asyncio.Semaphore(1)
"""Measuring takes a core: pages that ask for it wait for each other."""


@dataclass(frozen=True)
class Leak:
    """Prompts of an eval set that share words with a dataset."""

    items: int
    """Number of items of the eval set."""
    too_short: int
    """Number of prompts that are too short to compare."""
    ids: Sequence[str]
    """Items whose prompts share words."""


@dataclass(frozen=True)
class Measured:
    """Statistics as the page shows them."""

    stats: Stats
    """Counts and lengths."""
    is_complete: bool
    """False if only the first lines were measured."""
    similar_count: int
    """Number of records that are nearly the same as an earlier one."""
    similar: Sequence[SimilarPair]
    """First pairs of them."""
    leak: Leak | None
    """Shared words with an eval set, if one was named."""


async def measure_lines(first: FirstLines, items: Iterable[EvalItem] | None) -> Measured:
    """Return the statistics of lines, and with ``items`` the eval prompts in them.

    Raises:
        FormatError: A line is not a record.
        DatasetError: The eval set is too large.
    """
    async with _ONE_AT_A_TIME:
        return await asyncio.to_thread(_measure, first, items)


def _measure(first: FirstLines, items: Iterable[EvalItem] | None) -> Measured:
    shared = None if items is None else SharedWords(list(items))
    similar = SimilarLines()
    stats = measure(first.lines, shared, similar=similar)
    pairs = similar.pairs()
    leak = None
    if shared is not None:
        leak = Leak(shared.item_count, shared.too_short, shared.ids())
    return Measured(stats, first.is_complete, len(pairs), pairs[:SHOWN_PAIRS], leak)
