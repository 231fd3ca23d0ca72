"""Scores with their parts and comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.cli.show.run_view import Score
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2, run_pb2

_GATE = run_pb2.GateOutcome.DESCRIPTOR
_GROUP = evaluation_pb2.GroupKey.DESCRIPTOR
_KIND = evaluation_pb2.ComparisonKind.DESCRIPTOR
_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR
_TEST = evaluation_pb2.PairedTest.DESCRIPTOR


@dataclass(frozen=True)
class Bar:
    """Share with its 95% interval, all from 0 to 1."""

    label: str
    value: float | None
    """Share; None without anything to score."""
    low: float
    high: float
    passed: int
    total: int
    errors: int


@dataclass(frozen=True)
class ScoreCard:
    """Score of one judge on one eval set and model."""

    judge: str
    version: str
    eval_set: str
    model: str
    bar: Bar
    notes: list[str]
    """Figures reported in addition to the score."""
    groups: dict[str, list[Bar]]
    """Parts of the score by category, difficulty and section."""


@dataclass(frozen=True)
class Difference:
    """Comparison with other predictions for the same items."""

    name: str
    kind: str
    comparison: evaluation_pb2.JudgeComparison
    test: str


def card(score: Score) -> ScoreCard:
    """Return the page's view of a score."""
    groups: dict[str, list[Bar]] = {}
    for group in score.groups:
        groups.setdefault(enum_word(_GROUP, group.by), []).append(_group_bar(group))
    return ScoreCard(
        judge=score.judge,
        version=score.version,
        eval_set=score.eval_set,
        model=enum_word(_ROLE, score.model_role),
        bar=Bar(
            label=score.eval_set,
            value=score.score if score.HasField("score") else None,
            low=score.interval_low,
            high=score.interval_high,
            passed=score.passed,
            total=score.total,
            errors=score.errors,
        ),
        notes=list(_notes(score)),
        groups=groups,
    )


def difference(comparison: evaluation_pb2.JudgeComparison) -> Difference:
    """Return the page's view of a comparison."""
    return Difference(
        name=f"{comparison.judge} on {comparison.eval_set}",
        kind=enum_word(_KIND, comparison.kind),
        comparison=comparison,
        test=enum_word(_TEST, comparison.test).replace("_", " "),
    )


def gate_outcome(gate: run_pb2.GateResult) -> str:
    """Return ``passed``, ``failed`` or ``error``."""
    return enum_word(_GATE, gate.outcome)


def _group_bar(group: evaluation_pb2.ScoreGroup) -> Bar:
    return Bar(
        label=group.value,
        value=group.score if group.HasField("score") else None,
        low=group.low,
        high=group.high,
        passed=group.passed,
        total=group.total,
        errors=group.errors,
    )


def _notes(score: Score) -> Iterator[str]:
    if score.errors and score.HasField("error_low"):
        yield (
            f"if every error were a fail or a pass: {score.error_low:.3f} to {score.error_high:.3f}"
        )
    if score.HasField("mean_score"):
        interval = f" (95%: {score.mean_low:.3f} to {score.mean_high:.3f})"
        yield f"mean score {score.mean_score:.3f}" + (
            interval if score.HasField("mean_low") else ""
        )
    fields = {field.name: value for field, value in score.ListFields()}
    yield from (f"{text} {fields[field]:.3f}" for field, text in _RATES.items() if field in fields)
    yield from (f"pass@{chance.k} {chance.value:.3f}" for chance in score.pass_at_k)
    if score.leaked:
        yield f"{score.leaked} items with a prompt from the training data"
    if score.cost_tokens:
        yield f"{score.cost_tokens:,} tokens of a judging model"


_RATES = {
    "flexible_score": "with the last number or phrase as the answer:",
    "marker_rate": "share of predictions with an answer marker",
    "majority_score": "score of the majority of samples",
    "minimum_detectable_difference": "smallest difference that this eval set can show:",
}
