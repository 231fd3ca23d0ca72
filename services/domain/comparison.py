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
            {
                example_id: sum(scores) / len(scores)
                for example_id, scores in item_samples.items()
                if scores
            },
            len(item_samples),
            versions[group],
        )
        for group, item_samples in samples.items()
    }


def compare_items(
    group: VerdictGroup, first: ItemScores, other: ItemScores, kind: ComparisonKind
) -> dict[str, Any]:
    """Return the ``JudgeComparison`` of the items that both have, as seen from ``other``."""
    shared = sorted(first.scores.keys() & other.scores.keys())
    comparison: dict[str, Any] = {
        "judge": group.judge,
        "eval_set": group.eval_set,
        "kind": kind.value,
    }
    if not shared:
        return comparison
    score_pairs = [(first.scores[example_id], other.scores[example_id]) for example_id in shared]
    return comparison | vars(compare_paired(score_pairs))


def verdict_comparisons(
    first: dict[VerdictGroup, ItemScores], runs: dict[str, dict[VerdictGroup, ItemScores]]
) -> list[dict[str, Any]]:
    """Return the ``VerdictComparison`` of each other run, by name, with the first run.

    Takes seconds for large eval sets.
    """
    pairs = [
        (run, group)
        for run, scores in runs.items()
        for group in sorted(first.keys() & scores.keys())
    ]
    limit = min(MAX_CHANGES, MAX_CHANGES_TOGETHER // max(1, len(pairs)))
    return [
        _verdict_comparison(run, group, first[group], runs[run][group], limit)
        for run, group in pairs
    ]


def _verdict_comparison(
    run: str, group: VerdictGroup, first: ItemScores, other: ItemScores, limit: int
) -> dict[str, Any]:
    shared = first.scores.keys() & other.scores.keys()
    changed_ids = sorted(
        example_id for example_id in shared if first.scores[example_id] != other.scores[example_id]
    )
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
            {
                "example_id": example_id,
                "score_first": first.scores[example_id],
                "score": other.scores[example_id],
            }
            for example_id in changed_ids[:limit]
        ],
        "changes_left_out": max(0, len(changed_ids) - limit),
    }


def flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the values of a nested mapping by dotted path; lists count as values."""
    values: dict[str, Any] = {}
    for name, inner in value.items():
        inner_path = f"{path}.{name}" if path else name
        if isinstance(inner, Mapping):
            values |= flatten(inner, inner_path)
        else:
            values[inner_path] = inner
    return values


def differences(mappings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each path at which nested mappings differ; ``None`` if not set."""
    flat_mappings = [flatten(mapping) for mapping in mappings]
    paths = sorted({path for mapping in flat_mappings for path in mapping})
    values_by_path = {path: [mapping.get(path) for mapping in flat_mappings] for path in paths}
    return {
        path: values
        for path, values in values_by_path.items()
        if any(value != values[0] for value in values[1:])
    }
