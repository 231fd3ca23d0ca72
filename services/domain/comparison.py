"""Verdicts of two runs on the items they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.results import ComparisonKind
from tailrace.formats.statistics import compare_paired

MAX_CHANGES = 1000
"""Maximum number of won and lost items that a comparison names."""

MAX_CHANGES_TOGETHER = 20_000
"""Maximum number of won and lost items in one response, which is a single message."""


@dataclass(frozen=True, order=True)
class VerdictGroup:
    """Verdicts of one judge on the predictions of one model for one eval set."""

    judge: str
    eval_set: str
    model_role: str


@dataclass(frozen=True)
class ItemScores:
    """Scores that a judge gave to the items of an eval set."""

    scores: dict[str, float]
    """Mean score of each item's samples, without errors, by item id."""
    items: int
    """Number of items with a verdict, errors included."""
    version: str
    """Version of the judge."""


@dataclass(frozen=True)
class VerdictRow:
    """Fields of a verdict that comparisons need."""

    group: VerdictGroup
    example_id: str
    score: float | None
    """Score; ``None`` for an error."""
    version: str


def item_scores(rows: Iterable[VerdictRow]) -> dict[VerdictGroup, ItemScores]:
    """Return the scores by group."""
    samples: dict[VerdictGroup, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    versions: dict[VerdictGroup, str] = {}
    for row in rows:
        scores = samples[row.group][row.example_id]
        if row.score is not None:
            scores.append(row.score)
        versions[row.group] = row.version
    return {
        group: ItemScores(
            {item: sum(each) / len(each) for item, each in of_items.items() if each},
            len(of_items),
            versions[group],
        )
        for group, of_items in samples.items()
    }


def compare_items(
    group: VerdictGroup, first: ItemScores, other: ItemScores, kind: ComparisonKind
) -> dict[str, Any]:
    """Return the ``JudgeComparison`` of the items that both have, as seen from ``other``."""
    shared = sorted(first.scores.keys() & other.scores.keys())
    found: dict[str, Any] = {"judge": group.judge, "eval_set": group.eval_set, "kind": kind.value}
    if not shared:
        return found
    paired = compare_paired([(first.scores[item], other.scores[item]) for item in shared])
    return found | vars(paired)


def verdict_comparisons(
    first: dict[VerdictGroup, ItemScores], others: dict[str, dict[VerdictGroup, ItemScores]]
) -> list[dict[str, Any]]:
    """Return the ``VerdictComparison`` of each other run, by name, with the first run.

    Takes seconds for large eval sets.
    """
    pairs = [
        (run, group)
        for run, scores in others.items()
        for group in sorted(first.keys() & scores.keys())
    ]
    limit = min(MAX_CHANGES, MAX_CHANGES_TOGETHER // max(1, len(pairs)))
    return [
        _verdict_comparison(run, group, first[group], others[run][group], limit)
        for run, group in pairs
    ]


def _verdict_comparison(
    run: str, group: VerdictGroup, first: ItemScores, other: ItemScores, limit: int
) -> dict[str, Any]:
    shared = first.scores.keys() & other.scores.keys()
    changed = sorted(item for item in shared if first.scores[item] != other.scores[item])
    return {
        "run": run,
        "model_role": group.model_role,
        "comparison": compare_items(group, first, other, ComparisonKind.BASELINE),
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
    """Return the values of a nested mapping by dotted path; lists count as values."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(inner, Mapping):
            found |= flat(inner, where)
        else:
            found[where] = inner
    return found


def differences(mappings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each path at which nested mappings differ; ``None`` if not set."""
    flattened = [flat(mapping) for mapping in mappings]
    paths = sorted({path for each in flattened for path in each})
    values = {path: [each.get(path) for each in flattened] for path in paths}
    return {path: each for path, each in values.items() if any(v != each[0] for v in each[1:])}
