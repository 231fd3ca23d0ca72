"""Judging predictions: one verdict per item, and scores over eval sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.eval_item import EvalItem
from tailrace.formats.jsonl import FormatError, read_records
from tailrace.formats.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.results import JudgeScore
from tailrace.formats.statistics import wilson_interval
from tailrace.formats.verdict import Outcome, Verdict
from training.errors import DataError
from training.evalsets import EvalSets
from training.judges import Judge, Judgement
from training.observer import Observer


@dataclass(frozen=True)
class Judged:
    """What a judge said about all items."""

    verdicts: list[Verdict]
    scores: list[JudgeScore]


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file.

    Raises :class:`training.errors.DataError` naming every line that is not a prediction.
    """
    try:
        return read_records(Prediction, path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except FormatError as error:
        raise DataError(f"{path}: {error}") from error


def judge_predictions(
    judge: Judge,
    eval_sets: EvalSets,
    predictions: Iterable[Prediction],
    roles: Sequence[ModelRole],
    observer: Observer,
) -> Judged:
    """One verdict for every item and role; where the prediction is missing, outcome error.

    Raises :class:`training.errors.DataError` for predictions of unknown or repeated items: they
    were made for another eval set; :class:`training.errors.StoppedError` when the observer asks.
    """
    by_key = _by_item(predictions, eval_sets)
    total = sum(len(items) for items in eval_sets.values()) * len(roles)
    done = 0
    verdicts: list[Verdict] = []
    scores: list[JudgeScore] = []
    for name, items in eval_sets.items():
        for role in roles:
            observer.check_stop()
            tally = _Tally()
            samples = ((i, p) for i in items for p in by_key.get((name, i.id, role)) or [None])
            for item, prediction in samples:
                verdict, judgement = _verdict(judge, name, item, role, prediction)
                tally.add(judgement)
                verdicts.append(verdict)
                observer.verdict(verdict)
            done += len(items)
            observer.progress(done, total, "verdicts")
            scores.append(tally.score(judge, name, role))
    return Judged(verdicts, scores)


def roles_of(predictions: Iterable[Prediction]) -> list[ModelRole]:
    """The model roles that occur, in a fixed order."""
    present = {prediction.model_role for prediction in predictions}
    return [role for role in ModelRole if role in present]


_Key = tuple[str, str, ModelRole]


def _by_item(
    predictions: Iterable[Prediction], eval_sets: EvalSets
) -> dict[_Key, list[Prediction | None]]:
    known = {(name, item.id) for name, items in eval_sets.items() for item in items}
    grouped: dict[_Key, list[Prediction | None]] = {}
    seen: set[tuple[_Key, int]] = set()
    for p in predictions:
        key = (p.eval_set, p.example_id, p.model_role)
        if (p.eval_set, p.example_id) not in known:
            raise DataError(f"the prediction {p.eval_set}/{p.example_id} is of no item judged here")
        if (key, p.sample) in seen:
            raise DataError(f"there are two predictions {p.eval_set}/{p.example_id}/{p.sample}")
        seen.add((key, p.sample))
        grouped.setdefault(key, []).append(p)
    return grouped


def _verdict(
    judge: Judge, eval_set: str, item: EvalItem, role: ModelRole, prediction: Prediction | None
) -> tuple[Verdict, Judgement | None]:
    judgement: Judgement | None = None
    if prediction is None:
        outcome, reason = Outcome.ERROR, "there is no prediction for this item"
    elif prediction.finish_reason is FinishReason.ERROR:
        outcome, reason = Outcome.ERROR, f"the prediction failed: {prediction.error}"
    else:
        judgement = judge.judge(item, prediction.text)
        outcome = Outcome.PASS if judgement.passed else Outcome.FAIL
        reason = judgement.reason
    verdict = Verdict(
        eval_set=eval_set,
        example_id=item.id,
        model_role=role,
        judge=judge.name,
        version=judge.version,
        outcome=outcome,
        expected=item.expected_answer,
        reason=reason,
        sample=prediction.sample if prediction else 0,
        score=judgement.score if judgement else 0.0,
        extracted=judgement.extracted if judgement else "",
    )
    return verdict, judgement


class _Tally:
    """Counts of one judge, eval set and role."""

    def __init__(self) -> None:
        self.judgements: list[Judgement] = []
        self.errors = 0

    def add(self, judgement: Judgement | None) -> None:
        if judgement is None:
            self.errors += 1
        else:
            self.judgements.append(judgement)

    def score(self, judge: Judge, eval_set: str, role: ModelRole) -> JudgeScore:
        passed, total = sum(j.passed for j in self.judgements), len(self.judgements)
        low, high = wilson_interval(passed, total)
        return JudgeScore(
            judge=judge.name,
            version=judge.version,
            eval_set=eval_set,
            model_role=role,
            passed=passed,
            total=total,
            errors=self.errors,
            score=passed / total if total else None,
            interval_low=low if total else None,
            interval_high=high if total else None,
            flexible_score=sum(j.flexible for j in self.judgements) / total if total else None,
            marker_rate=sum(j.marked for j in self.judgements) / total if total else None,
        )
