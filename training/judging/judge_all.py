"""Judging predictions: one verdict for each, scores over eval sets, and comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.results import ComparisonKind, JudgeComparison, JudgeScore
from training.errors import StoppedError, TooManyJudgeErrorsError, TrainingError
from training.evalsets import EvalSets
from training.judges.base import Judge, JudgeError, Judgement, Question
from training.judging.answers import Answers, Asked, ask_all, group_by_item, others_of
from training.judging.scoring import (
    Ruling,
    compare_scores,
    item_scores,
    score_rulings,
    shared_scores,
)
from training.observer import Observer


@dataclass(frozen=True)
class Judged:
    """What a judge said about all items."""

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
) -> Judged:
    """One verdict for every prediction, and one for every sample that is missing: an error.

    Args:
        judge: Who judges.
        eval_sets: What was asked.
        predictions: The answers.
        roles: Whose answers are judged. A judge that compares leaves out the base model's where
            it compares with them.
        observer: Told every verdict; asked between any two whether to stop.
        baseline: The other answers for a judge that compares: another run's. Left out, those of
            the base model.
        leaked: How many items of each eval set were trained on.
        n_samples: How many answers each item should have of each role; the most that any has where
            that is not known.

    Raises:
        DataError: Predictions of unknown or repeated items: they were made for another eval set.
        StoppedError: The observer asked for it.
    """
    made = group_by_item(predictions, eval_sets)
    others: Answers = {}
    if judge.compares:
        others = others_of(made, baseline)
        if baseline is None:
            roles = [role for role in roles if role is not ModelRole.BASE]
    asked = ask_all(eval_sets, made, roles, n_samples)
    total = sum(len(each.answers) for each in asked)
    rulings: dict[tuple[str, ModelRole], list[Ruling]] = {}
    done = 0
    for each in asked:
        found = rulings[each.eval_set, each.role] = []
        for ruling in _rule(judge, each, others, observer):
            found.append(ruling)
            observer.verdict(ruling.verdict)
            done += 1
            if done % 100 == 0:
                observer.progress(done, total, "verdicts")
        observer.progress(done, total, "verdicts")
    leaks = leaked or {}
    kind = ComparisonKind.LIFT if baseline is None else ComparisonKind.BASELINE
    return Judged(
        [ruling.verdict for each in rulings.values() for ruling in each],
        [score_rulings(each, leaks.get(name, 0)) for (name, _), each in rulings.items() if each],
        list(_comparisons(judge, kind, rulings)),
    )


def refuse_errors(judged: Judged, max_error_rate: float) -> None:
    """Raise :class:`training.errors.TooManyJudgeErrorsError` when too many verdicts are errors."""
    errors = [each for each in judged.verdicts if each.outcome is Outcome.ERROR]
    if len(errors) > max_error_rate * len(judged.verdicts):
        first = errors[0]
        raise TooManyJudgeErrorsError(
            f"{len(errors)} of {len(judged.verdicts)} verdicts of {first.judge} are errors, more "
            f"than the allowed {max_error_rate:.0%}; the first, of "
            f"{first.eval_set}/{first.example_id}: {first.reason}"
        )


def _rule(judge: Judge, asked: Asked, others: Answers, observer: Observer) -> Iterator[Ruling]:
    questions = [
        Question(item, p, others.get((p.eval_set, p.example_id, p.sample)))
        for item, p in asked.answers
        if not isinstance(p, int) and p.finish_reason is not FinishReason.ERROR
    ]
    said = _judgements(judge, questions)
    try:
        for item, p in asked.answers:
            observer.check_stop()
            found: Judgement | JudgeError
            if isinstance(p, int):
                found = JudgeError(f"there is no prediction for sample {p} of this item")
            elif p.finish_reason is FinishReason.ERROR:
                found = JudgeError(f"the prediction failed: {p.error}")
            else:
                found = next(said)
            verdict = _verdict(judge, asked, item, p if isinstance(p, int) else p.sample, found)
            yield Ruling(item, verdict, None if isinstance(found, JudgeError) else found)
    finally:
        said.close()


def _judgements(
    judge: Judge, questions: Sequence[Question]
) -> Generator[Judgement | JudgeError, None, None]:
    """What the judge says; where it breaks off, errors for all the rest."""
    failure = JudgeError("the judge gave no judgement")
    if questions:
        try:
            for found in judge.judge_all(questions):
                if isinstance(found, Judgement) and not 0 <= found.score <= 1:
                    yield JudgeError(f"the judge gave the score {found.score}", found.cost_tokens)
                else:
                    yield found
        except (TrainingError, StoppedError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - told in the verdicts, which are errors
            failure = JudgeError(f"the judge failed: {type(error).__name__}: {error}")
    yield from itertools.repeat(failure)


def _verdict(
    judge: Judge, asked: Asked, item: EvalItem, sample: int, found: Judgement | JudgeError
) -> Verdict:
    judgement = None if isinstance(found, JudgeError) else found
    outcome = Outcome.ERROR
    if judgement is not None:
        outcome = Outcome.PASS if judgement.passed else Outcome.FAIL
    return Verdict(
        eval_set=asked.eval_set,
        example_id=item.id,
        model_role=asked.role,
        judge=judge.name,
        version=judge.version,
        outcome=outcome,
        expected=item.expected_answer,
        reason=_storable(judgement.reason if judgement else str(found), 10_000),
        sample=sample,
        score=judgement.score if judgement else None,
        extracted=_storable(judgement.extracted, 10_000) if judgement else "",
        evidence=_storable(judgement.evidence, 256) if judgement else "",
        cost_tokens=found.cost_tokens,
    )


def _storable(text: str, longest: int) -> str:
    """``text`` as every database takes it; models write NUL and halves of surrogate pairs."""
    return text.replace("\0", "")[:longest].encode("utf-8", "replace").decode("utf-8")


def _comparisons(
    judge: Judge,
    kind: ComparisonKind,
    rulings: Mapping[tuple[str, ModelRole], Sequence[Ruling]],
) -> Iterator[JudgeComparison]:
    for (name, role), each in rulings.items():
        own = item_scores(each)
        if judge.compares:
            # A preference of s for the one is one of 1 - s for the other.
            pairs = [(1 - score, score) for score in own.values()]
            yield compare_scores(judge.name, name, kind, pairs)
        elif role is ModelRole.TRAINED and (name, ModelRole.BASE) in rulings:
            other = item_scores(rulings[name, ModelRole.BASE])
            yield compare_scores(judge.name, name, ComparisonKind.LIFT, shared_scores(other, own))
