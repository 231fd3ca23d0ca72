"""One judge at work: a verdict per prediction, scores over eval sets, and comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.data.verdict import MAX_EXPECTED, Outcome, Verdict
from tailrace.formats.results import ComparisonKind, JudgeComparison, JudgeScore
from training.errors import StoppedError, TooManyJudgeErrorsError, TrainingError
from training.evalsets import EvalSets
from training.judges.base import Candidate, Judge, JudgeError, TextVerdict
from training.judging.grouping import (
    ExpectedPredictions,
    SampleKey,
    comparison_predictions,
    expected_predictions,
    group_by_item,
)
from training.judging.scoring import (
    ItemVerdict,
    compare_scores,
    item_scores,
    score_verdicts,
    shared_scores,
)
from training.observer import Observer


@dataclass(frozen=True)
class JudgeOutput:
    """Verdicts, scores and comparisons of one judge."""

    verdicts: list[Verdict]
    scores: list[JudgeScore]
    comparisons: list[JudgeComparison] = field(default_factory=list)


def judge_predictions(
    judge: Judge,
    eval_sets: EvalSets,
    predictions: Iterable[Prediction],
    roles: Sequence[ModelRole],
    observer: Observer,
    *,
    baseline: Sequence[Prediction] | None = None,
    leaked: Mapping[str, int] | None = None,
    n_samples: int | None = None,
) -> JudgeOutput:
    """Return one verdict for every prediction, and an error for every missing sample.

    Args:
        judge: The judge.
        eval_sets: Eval items by the names that predictions carry.
        predictions: Predictions for them.
        roles: Model roles to judge. A judge that compares with the base model leaves out that role.
        observer: Receives every verdict, and may request a stop between any two.
        baseline: Another run's predictions, for a judge that compares (default: the base model's).
        leaked: Number of each eval set's items that the model was trained on.
        n_samples: Number of predictions per item and role (default: the most that any item has).

    Raises:
        DataError: A prediction is for an unknown item, or occurs twice.
        StoppedError: The observer requested a stop.
    """
    by_item = group_by_item(predictions, eval_sets)
    opponents: dict[SampleKey, Prediction] = {}
    if judge.compares:
        opponents = comparison_predictions(by_item, baseline)
        if baseline is None:
            roles = [role for role in roles if role is not ModelRole.BASE]
    groups = expected_predictions(eval_sets, by_item, roles, n_samples)
    total = sum(len(group.samples) for group in groups)
    verdicts: dict[tuple[str, ModelRole], list[ItemVerdict]] = {}
    done = 0
    for group in groups:
        group_verdicts = verdicts[group.eval_set, group.role] = []
        for item_verdict in _judge_group(judge, group, opponents, observer):
            group_verdicts.append(item_verdict)
            observer.verdict(item_verdict.verdict)
            done += 1
            if done % 100 == 0:
                observer.progress(done, total, "verdicts")
        observer.progress(done, total, "verdicts")
    leaks = leaked or {}
    kind = ComparisonKind.LIFT if baseline is None else ComparisonKind.BASELINE
    return JudgeOutput(
        [item_verdict.verdict for members in verdicts.values() for item_verdict in members],
        [
            score_verdicts(members, leaks.get(name, 0))
            for (name, _), members in verdicts.items()
            if members
        ],
        list(_comparisons(judge, kind, verdicts)),
    )


def refuse_errors(output: JudgeOutput, max_error_rate: float) -> None:
    """Check the share of errors among the verdicts.

    Raises:
        TooManyJudgeErrorsError: It is above ``max_error_rate``.
    """
    errors = [verdict for verdict in output.verdicts if verdict.outcome is Outcome.ERROR]
    if len(errors) > max_error_rate * len(output.verdicts):
        first = errors[0]
        raise TooManyJudgeErrorsError(
            f"{len(errors)} of {len(output.verdicts)} verdicts of {first.judge} are errors, more "
            f"than the allowed {max_error_rate:.0%}; the first, of "
            f"{first.eval_set}/{first.example_id}: {first.reason}"
        )


def _judge_group(
    judge: Judge,
    group: ExpectedPredictions,
    opponents: Mapping[SampleKey, Prediction],
    observer: Observer,
) -> Iterator[ItemVerdict]:
    candidates = [
        Candidate(item, p, opponents.get((p.eval_set, p.example_id, p.sample)))
        for item, p in group.samples
        if not isinstance(p, int) and p.finish_reason is not FinishReason.ERROR
    ]
    outcomes = text_verdicts(judge, candidates)
    try:
        for item, p in group.samples:
            observer.check_stop()
            outcome: TextVerdict | JudgeError
            if isinstance(p, int):
                outcome = JudgeError(f"there is no prediction for sample {p} of this item")
            elif p.finish_reason is FinishReason.ERROR:
                outcome = JudgeError(f"the prediction failed: {p.error}")
            else:
                outcome = next(outcomes)
            sample = p if isinstance(p, int) else p.sample
            verdict = _verdict(judge, group, item, sample, outcome)
            details = None if isinstance(outcome, JudgeError) else outcome
            yield ItemVerdict(item, verdict, details)
    finally:
        outcomes.close()


def text_verdicts(
    judge: Judge, candidates: Sequence[Candidate]
) -> Generator[TextVerdict | JudgeError, None, None]:
    """Yield the judge's verdicts, and errors without end once it fails or stops early."""
    failure = JudgeError("the judge gave no verdict")
    if candidates:
        try:
            for outcome in judge.judge_all(candidates):
                if isinstance(outcome, TextVerdict) and not 0 <= outcome.score <= 1:
                    reason = f"the judge gave the score {outcome.score}"
                    yield JudgeError(reason, outcome.cost_tokens)
                else:
                    yield outcome
        except (TrainingError, StoppedError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - reported in the verdicts, which are errors
            failure = JudgeError(f"the judge failed: {type(error).__name__}: {error}")
    yield from itertools.repeat(failure)


def _verdict(
    judge: Judge,
    group: ExpectedPredictions,
    item: EvalItem,
    sample: int,
    outcome: TextVerdict | JudgeError,
) -> Verdict:
    details = None if isinstance(outcome, JudgeError) else outcome
    result = Outcome.ERROR
    if details is not None:
        result = Outcome.PASS if details.passed else Outcome.FAIL
    return Verdict(
        eval_set=group.eval_set,
        example_id=item.id,
        model_role=group.role,
        judge=judge.name,
        version=judge.version,
        outcome=result,
        expected=_storable(item.shown_answer, MAX_EXPECTED),
        reason=_storable(details.reason if details else str(outcome), 10_000),
        sample=sample,
        score=details.score if details else None,
        extracted=_storable(details.extracted, 10_000) if details else "",
        evidence=_storable(details.evidence, 256) if details else "",
        cost_tokens=outcome.cost_tokens,
    )


def _storable(text: str, max_length: int) -> str:
    """Return ``text`` in a form that every database accepts.

    Models write NUL and halves of surrogate pairs, which PostgreSQL refuses.
    """
    return text.replace("\0", "")[:max_length].encode("utf-8", "replace").decode("utf-8")


def _comparisons(
    judge: Judge,
    kind: ComparisonKind,
    verdicts: Mapping[tuple[str, ModelRole], Sequence[ItemVerdict]],
) -> Iterator[JudgeComparison]:
    for (name, role), members in verdicts.items():
        own = item_scores(members)
        if judge.compares:
            # Preferring one answer by s means preferring the other by 1 - s.
            pairs = [(1 - score, score) for score in own.values()]
            yield compare_scores(judge.name, name, kind, pairs)
        elif role is ModelRole.TRAINED and (name, ModelRole.BASE) in verdicts:
            other = item_scores(verdicts[name, ModelRole.BASE])
            yield compare_scores(judge.name, name, ComparisonKind.LIFT, shared_scores(other, own))
