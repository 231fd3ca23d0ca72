"""Scores of verdicts, with their uncertainty, and comparisons of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.results import (
    ComparisonKind,
    GroupKey,
    JudgeComparison,
    JudgeScore,
    PairedTest,
    PassAtK,
    ScoreGroup,
)
from tailrace.formats.statistics import (
    bootstrap_interval,
    compare_paired,
    majority,
    minimum_detectable_difference,
    pass_at_k,
    wilson_interval,
    wilson_with_errors,
)
from training.judges.base import TextVerdict


@dataclass(frozen=True)
class ItemVerdict:
    """A verdict with its eval item and the details that scores need."""

    item: EvalItem
    verdict: Verdict
    details: TextVerdict | None
    """The judge's own verdict; None for an error."""


def score_verdicts(verdicts: Sequence[ItemVerdict], leaked: int = 0) -> JudgeScore:
    """Return the score of one judge, eval set and model role.

    Args:
        verdicts: All their verdicts, errors included; at least one.
        leaked: Number of items that the model was trained on.
    """
    first = verdicts[0].verdict
    details = [verdict.details for verdict in verdicts if verdict.details is not None]
    scores = [detail.score for detail in details]
    proportion = _Proportion.of(verdicts)
    mean_low, mean_high = _mean_interval(verdicts)
    items = _details_by_item(verdicts)
    has_samples = any(len(samples) > 1 for samples in items)
    return JudgeScore(
        judge=first.judge,
        version=first.version,
        eval_set=first.eval_set,
        model_role=first.model_role,
        passed=proportion.passed,
        total=proportion.total,
        errors=proportion.errors,
        score=proportion.score,
        interval_low=proportion.low,
        interval_high=proportion.high,
        flexible_score=_share(detail.flexible for detail in details),
        marker_rate=_share(detail.marked for detail in details),
        mean_score=math.fsum(scores) / len(scores) if scores else None,
        mean_low=mean_low,
        mean_high=mean_high,
        error_low=proportion.error_low,
        error_high=proportion.error_high,
        majority_score=_majority_score(items) if has_samples else None,
        pass_at_k=_pass_at_k(items) if has_samples else [],
        groups=_groups(verdicts),
        minimum_detectable_difference=(
            None
            if proportion.score is None
            else minimum_detectable_difference(len(items), proportion.score)
        ),
        leaked=leaked,
        cost_tokens=sum(verdict.verdict.cost_tokens for verdict in verdicts),
    )


def compare_scores(
    judge: str, eval_set: str, kind: ComparisonKind, pairs: Sequence[tuple[float, float]]
) -> JudgeComparison:
    """Return the comparison of (other, own) scores of shared items."""
    if not pairs:
        return JudgeComparison(judge, eval_set, kind, wins=0, losses=0, ties=0)
    comparison = compare_paired(pairs)
    return JudgeComparison(
        judge=judge,
        eval_set=eval_set,
        kind=kind,
        wins=comparison.wins,
        losses=comparison.losses,
        ties=comparison.ties,
        difference=comparison.difference,
        low=comparison.low,
        high=comparison.high,
        p_value=comparison.p_value,
        test=PairedTest(comparison.test),
    )


def item_scores(verdicts: Iterable[ItemVerdict]) -> dict[str, float]:
    """Return the mean score of each item's samples, without items that have only errors."""
    scores: dict[str, list[float]] = {}
    for verdict in verdicts:
        if verdict.details is not None:
            scores.setdefault(verdict.item.id, []).append(verdict.details.score)
    return {id_: math.fsum(values) / len(values) for id_, values in scores.items()}


def shared_scores(
    other: Mapping[str, float], own: Mapping[str, float]
) -> list[tuple[float, float]]:
    """Return the (other, own) scores of shared items, in the order of ``own``."""
    return [(other[id_], score) for id_, score in own.items() if id_ in other]


@dataclass(frozen=True)
class _Proportion:
    """The share of verdicts that pass, with its uncertainty."""

    passed: int
    total: int
    errors: int
    score: float | None
    low: float | None
    high: float | None
    error_low: float
    error_high: float

    @classmethod
    def of(cls, verdicts: Sequence[ItemVerdict]) -> _Proportion:
        outcomes = [verdict.verdict.outcome for verdict in verdicts]
        passed, errors = outcomes.count(Outcome.PASS), outcomes.count(Outcome.ERROR)
        total = len(outcomes) - errors
        low, high, score = None, None, None
        if total:
            # Samples of one item are not independent: each item is one trial.
            part = len(_details_by_item(verdicts)) / total
            score = passed / total
            low, high = wilson_interval(passed * part, total * part)
        part = len({verdict.item.id for verdict in verdicts}) / len(verdicts)
        error_low, error_high = wilson_with_errors(
            passed * part, (total - passed) * part, errors * part
        )
        return cls(passed, total, errors, score, low, high, error_low, error_high)


def _details_by_item(verdicts: Iterable[ItemVerdict]) -> list[list[TextVerdict]]:
    """Return the judge's verdicts on each item's samples, without items that have only errors."""
    by_item: dict[str, list[TextVerdict]] = {}
    for verdict in verdicts:
        if verdict.details is not None:
            by_item.setdefault(verdict.item.id, []).append(verdict.details)
    return list(by_item.values())


def _mean_interval(verdicts: Sequence[ItemVerdict]) -> tuple[float, float] | tuple[None, None]:
    details = [verdict.details for verdict in verdicts if verdict.details is not None]
    graded = any(0 < detail.score < 1 for detail in details)
    return bootstrap_interval(list(item_scores(verdicts).values())) if graded else (None, None)


def _share(values: Iterable[bool | None]) -> float | None:
    flags = [value for value in values if value is not None]
    return sum(flags) / len(flags) if flags else None


def _majority_score(items: Sequence[Sequence[TextVerdict]]) -> float | None:
    right = 0
    for samples in items:
        votes: list[tuple[str, bool]] = []
        for sample in samples:
            if sample.vote is None:
                return None
            # Equal votes may differ in their outcome, such as if one lacks a required unit.
            votes.append((sample.vote, sample.passed))
        _, passed = majority(votes)
        right += passed
    return right / len(items) if items else None


def _pass_at_k(items: Sequence[Sequence[TextVerdict]]) -> list[PassAtK]:
    """Return pass@k for k = 1, 2, 4 … and the largest number of samples of an item.

    Errors are not samples: an item with fewer than k samples judged counts for smaller k only.
    """
    most = max(map(len, items))
    sizes = sorted({2**i for i in range(most.bit_length())} & set(range(1, most + 1)) | {most})
    counts = [(len(samples), sum(sample.passed for sample in samples)) for samples in items]
    estimates = []
    for k in sizes:
        chances = [pass_at_k(n, c, k) for n, c in counts if n >= k]
        estimates.append(PassAtK(k, math.fsum(chances) / len(chances)))
    return estimates


def _groups(verdicts: Sequence[ItemVerdict]) -> list[ScoreGroup]:
    grouped: dict[tuple[GroupKey, str], list[ItemVerdict]] = {}
    for verdict in verdicts:
        for by in GroupKey:
            value = getattr(verdict.item, by.value, None)
            if value is not None:
                grouped.setdefault((by, value), []).append(verdict)
    groups = []
    for (by, value), members in sorted(grouped.items()):
        part = _Proportion.of(members)
        groups.append(
            ScoreGroup(
                by=by,
                value=value,
                passed=part.passed,
                total=part.total,
                errors=part.errors,
                score=part.score,
                low=part.low,
                high=part.high,
            )
        )
    return groups
