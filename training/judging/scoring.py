"""From verdicts to scores: how good, how sure, and compared with whom."""

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
from training.judges.base import Judgement


@dataclass(frozen=True)
class Ruling:
    """A verdict with what it is about."""

    item: EvalItem
    verdict: Verdict
    judgement: Judgement | None
    """None where the verdict is an error."""


def score_rulings(rulings: Sequence[Ruling], leaked: int = 0) -> JudgeScore:
    """The score of one judge, eval set and model role, which has at least one ruling.

    Args:
        rulings: All of them, errors included.
        leaked: How many of the items were trained on.
    """
    first = rulings[0].verdict
    given = [each.judgement for each in rulings if each.judgement is not None]
    proportion = _Proportion.of(rulings)
    mean_low, mean_high = _mean_interval(rulings)
    samples = _samples(rulings)
    several = any(len(each) > 1 for each in samples)
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
        flexible_score=_share(each.flexible for each in given),
        marker_rate=_share(each.marked for each in given),
        mean_score=math.fsum(each.score for each in given) / len(given) if given else None,
        mean_low=mean_low,
        mean_high=mean_high,
        error_low=proportion.error_low,
        error_high=proportion.error_high,
        majority_score=_majority_score(samples) if several else None,
        pass_at_k=_pass_at_k(samples) if several else [],
        groups=_groups(rulings),
        minimum_detectable_difference=(
            None
            if proportion.score is None
            else minimum_detectable_difference(len(samples), proportion.score)
        ),
        leaked=leaked,
        cost_tokens=sum(each.verdict.cost_tokens for each in rulings),
    )


def compare_scores(
    judge: str, eval_set: str, kind: ComparisonKind, pairs: Sequence[tuple[float, float]]
) -> JudgeComparison:
    """The comparison of (other, own) scores of the items that both have."""
    if not pairs:
        return JudgeComparison(judge, eval_set, kind, wins=0, losses=0, ties=0)
    found = compare_paired(pairs)
    return JudgeComparison(
        judge=judge,
        eval_set=eval_set,
        kind=kind,
        wins=found.wins,
        losses=found.losses,
        ties=found.ties,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        test=PairedTest(found.test),
    )


def item_scores(rulings: Iterable[Ruling]) -> dict[str, float]:
    """Mean score of each item's samples; items with errors only have none."""
    scores: dict[str, list[float]] = {}
    for each in rulings:
        if each.judgement is not None:
            scores.setdefault(each.item.id, []).append(each.judgement.score)
    return {id_: math.fsum(values) / len(values) for id_, values in scores.items()}


def shared_scores(
    other: Mapping[str, float], own: Mapping[str, float]
) -> list[tuple[float, float]]:
    """(other, own) of the items that are in both, in the order of ``own``."""
    return [(other[id_], score) for id_, score in own.items() if id_ in other]


@dataclass(frozen=True)
class _Proportion:
    """How many pass, and how sure that is."""

    passed: int
    total: int
    errors: int
    score: float | None
    low: float | None
    high: float | None
    error_low: float
    error_high: float

    @classmethod
    def of(cls, rulings: Sequence[Ruling]) -> _Proportion:
        outcomes = [each.verdict.outcome for each in rulings]
        passed, errors = outcomes.count(Outcome.PASS), outcomes.count(Outcome.ERROR)
        total = len(outcomes) - errors
        low, high, score = None, None, None
        if total:
            # Samples of one item are not independent: each item is one trial.
            part = len(_samples(rulings)) / total
            score = passed / total
            low, high = wilson_interval(passed * part, total * part)
        part = len({each.item.id for each in rulings}) / len(rulings)
        error_low, error_high = wilson_with_errors(
            passed * part, (total - passed) * part, errors * part
        )
        return cls(passed, total, errors, score, low, high, error_low, error_high)


def _samples(rulings: Iterable[Ruling]) -> list[list[Judgement]]:
    """The judgements of each item that has any."""
    by_item: dict[str, list[Judgement]] = {}
    for each in rulings:
        if each.judgement is not None:
            by_item.setdefault(each.item.id, []).append(each.judgement)
    return list(by_item.values())


def _mean_interval(rulings: Sequence[Ruling]) -> tuple[float, float] | tuple[None, None]:
    graded = any(0 < each.judgement.score < 1 for each in rulings if each.judgement is not None)
    return bootstrap_interval(list(item_scores(rulings).values())) if graded else (None, None)


def _share(values: Iterable[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _majority_score(samples: Sequence[Sequence[Judgement]]) -> float | None:
    right = 0
    for judgements in samples:
        votes: list[tuple[str, bool]] = []
        for each in judgements:
            if each.vote is None:
                return None
            # With the verdict: a judge may pass one of two answers that it calls the same, as where
            # one of them lacks a unit that the item requires.
            votes.append((each.vote, each.passed))
        _, passed = majority(votes)
        right += passed
    return right / len(samples) if samples else None


def _pass_at_k(samples: Sequence[Sequence[Judgement]]) -> list[PassAtK]:
    """For k = 1, 2, 4 … and the most samples of an item.

    Errors are no samples: an item of which fewer than k could be judged counts for smaller k only.
    """
    most = max(map(len, samples))
    sizes = sorted({2**i for i in range(most.bit_length())} & set(range(1, most + 1)) | {most})
    counted = [(len(each), sum(judgement.passed for judgement in each)) for each in samples]
    found = []
    for k in sizes:
        chances = [pass_at_k(n, c, k) for n, c in counted if n >= k]
        found.append(PassAtK(k, math.fsum(chances) / len(chances)))
    return found


def _groups(rulings: Sequence[Ruling]) -> list[ScoreGroup]:
    grouped: dict[tuple[GroupKey, str], list[Ruling]] = {}
    for each in rulings:
        for by in GroupKey:
            value = getattr(each.item, by.value, None)
            if value is not None:
                grouped.setdefault((by, value), []).append(each)
    found = []
    for (by, value), members in sorted(grouped.items()):
        part = _Proportion.of(members)
        found.append(
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
    return found
