"""Statistics of a dataset, measured line by line in bounded memory."""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tailrace.datasets.inspection.shared_words import SharedWords
from tailrace.datasets.inspection.similar_lines import SimilarLines
from tailrace.datasets.inspection.turns import texts_of, turns_of
from tailrace.formats.data.dataset_file import scan_records
from tailrace.formats.data.jsonl import LineErrors
from tailrace.formats.data.key_spool import KeySpool
from tailrace.formats.data.record import SCHEMAS, DatasetKind, Record
from tailrace.formats.schema import to_mapping

SHOWN_DUPLICATES = 10
"""Number of repeated lines that statistics name; all are counted."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
"""Quantiles of lengths by name."""


class Lengths:
    """Lengths of many items, counted by value."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        """Count one item."""
        self._counts[length] += 1

    def total(self) -> int:
        """Return the sum of all lengths."""
        return sum(length * count for length, count in self._counts.items())

    def quantiles(self) -> dict[str, int]:
        """Return the smallest length that at least each share of the items does not exceed."""
        ranks = {name: math.ceil(q * self._counts.total()) for name, q in QUANTILES.items()}
        values: dict[str, int] = {}
        seen = 0
        for length, count in sorted(self._counts.items()):
            seen += count
            values |= {n: length for n, rank in ranks.items() if n not in values and seen >= rank}
        return values


@dataclass
class Stats:
    """Statistics of a dataset."""

    kind: DatasetKind = DatasetKind.TRACE
    """Kind of the lines."""
    lines: int = 0
    """Number of records."""
    turns: Counter[str] = field(default_factory=Counter)
    """Number of turns by role."""
    turns_per_line: Lengths = field(default_factory=Lengths)
    """Turns of each record."""
    characters: Lengths = field(default_factory=Lengths)
    """Characters of each record: contents, thinking and tool calls."""
    duplicates: int = 0
    """Number of records that repeat an earlier one, case and white space aside."""
    first_duplicates: list[tuple[int, int]] = field(default_factory=list)
    """Lines of the first of them, each with the line that it repeats."""


def measure(
    lines: Iterable[bytes],
    shared: SharedWords | None = None,
    folder: Path | None = None,
    similar: SimilarLines | None = None,
) -> Stats:
    """Return the statistics of a dataset.

    Args:
        lines: Lines of the dataset.
        shared: Eval prompts to look for.
        folder: Folder for temporary files (default: the system's).
        similar: Collector of the records that are nearly the same.

    Raises:
        FormatError: Lines are wrong.
        OSError: Temporary files cannot be written.
    """
    stats, errors, keys = Stats(), LineErrors(), KeySpool(folder)
    try:
        for number, record in scan_records(lines, errors, folder=folder):
            texts = _add(stats, record, shared)
            key = folded_key(record)
            keys.add(key, number)
            if similar is not None:
                similar.add(number, key, texts)
        errors.raise_any()
        repeats = _Counted(keys.repeats())
        stats.first_duplicates = heapq.nsmallest(SHOWN_DUPLICATES, repeats)
        stats.duplicates = repeats.count
    finally:
        keys.close()
    return stats


def folded_key(record: Record) -> str:
    """Return the content of a record without id and metadata, case and white space folded."""
    content = to_mapping(record)
    content.pop("id", None)
    content.pop("metadata", None)
    return json.dumps(_folded(content), ensure_ascii=False, sort_keys=True)


def _add(stats: Stats, record: Record, shared: SharedWords | None) -> list[str]:
    """Count a record, and return its texts."""
    if not stats.lines:
        stats.kind = next(kind for kind, schema in SCHEMAS.items() if isinstance(record, schema))
    messages = [turn.message for turn in turns_of(record)]
    texts = [text for message in messages for text in texts_of(message)]
    stats.lines += 1
    stats.turns.update(message.role.value for message in messages)
    stats.turns_per_line.add(len(messages))
    stats.characters.add(sum(map(len, texts)))
    if shared is not None:
        for text in texts:
            shared.add(text)
    return texts


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, dict):
        return {name: _folded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_folded(part) for part in value]
    return value


class _Counted:
    """An iterable of repeated lines that counts them."""

    def __init__(self, repeats: Iterable[tuple[int, int]]) -> None:
        self._repeats = repeats
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for repeat in self._repeats:
            self.count += 1
            yield repeat
