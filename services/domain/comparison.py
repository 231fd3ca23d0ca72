"""Verdicts of two runs on the items they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.results import ComparisonKind
from tailrace.formats.statistics import compare_paired

MAX_CHANGES = 1000
"""Won and lost items that a comparison names."""

MAX_CHANGES_TOGETHER = 20_000
"""Won and lost items that all comparisons of one answer name, which is one message."""


@dataclass(frozen=True, order=True)
class Judged:
    """What verdicts are about."""

    judge: str
    eval_set: str
    model_role: str


@dataclass(frozen=True)
class ItemScores:
    """What a judge gave to the items of an eval set."""

    scores: dict[str, float]
    """Mean score of an item's samples, those that are errors left out, by its id."""
    items: int
    """Items with any verdict, errors too."""
    version: str
    """The judge's version."""


@dataclass(frozen=True)
class VerdictRow:
    """What is compared of one verdict."""

    judged: Judged
    example_id: str
    score: float | None
    """None for an error."""
    version: str


def item_scores(rows: Iterable[VerdictRow]) -> dict[Judged, ItemScores]:
    """The scores by what was judged."""
    samples: dict[Judged, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    versions: dict[Judged, str] = {}
    for row in rows:
        scores = samples[row.judged][row.example_id]
        if row.score is not None:
            scores.append(row.score)
        versions[row.judged] = row.version
    return {
        judged: ItemScores(
            {item: sum(each) / len(each) for item, each in of_items.items() if each},
            len(of_items),
            versions[judged],
        )
        for judged, of_items in samples.items()
    }


def compare_items(
    judged: Judged, first: ItemScores, other: ItemScores, kind: ComparisonKind
) -> dict[str, Any]:
    """The comparison ``JudgeComparison`` of the items that both have, seen from ``other``."""
    shared = sorted(first.scores.keys() & other.scores.keys())
    found: dict[str, Any] = {"judge": judged.judge, "eval_set": judged.eval_set, "kind": kind.value}
    if not shared:
        return found
    paired = compare_paired([(first.scores[item], other.scores[item]) for item in shared])
    return found | vars(paired)


def verdict_comparisons(
    first: dict[Judged, ItemScores], others: dict[str, dict[Judged, ItemScores]]
) -> list[dict[str, Any]]:
    """The comparisons ``VerdictComparison`` of other runs, by name, with the first one.

    Takes seconds for large eval sets.
    """
    pairs = [
        (run, judged)
        for run, scores in others.items()
        for judged in sorted(first.keys() & scores.keys())
    ]
    limit = min(MAX_CHANGES, MAX_CHANGES_TOGETHER // max(1, len(pairs)))
    return [
        _verdict_comparison(run, judged, first[judged], others[run][judged], limit)
        for run, judged in pairs
    ]


def _verdict_comparison(
    run: str, judged: Judged, first: ItemScores, other: ItemScores, limit: int
) -> dict[str, Any]:
    shared = first.scores.keys() & other.scores.keys()
    changed = sorted(item for item in shared if first.scores[item] != other.scores[item])
    return {
        "run": run,
        "model_role": judged.model_role,
        "comparison": compare_items(judged, first, other, ComparisonKind.BASELINE),
        "shared": len(shared),
        "not_shared_first": first.items - len(shared),
        "not_shared": other.items - len(shared),
        "version_first": first.version,
        "version": other.version,
        "changes": [
            {"example_id": item, "score_first": first.scores[item], "score": other.scores[item]}
            for item in changed[:limit]
        ],
        "changes_left_out": max(0, len(changed) - limit),
    }


def flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A nested mapping by dotted path; lists are values."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(inner, Mapping):
            found |= flat(inner, where)
        else:
            found[where] = inner
    return found


def differences(mappings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Where nested mappings differ: each value by path, ``None`` where it is not set."""
    flattened = [flat(mapping) for mapping in mappings]
    paths = sorted({path for each in flattened for path in each})
    values = {path: [each.get(path) for each in flattened] for path in paths}
    return {path: each for path, each in values.items() if any(v != each[0] for v in each[1:])}
