"""Calibration of a judge: its agreement with people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.data.jsonl import FormatError, read_records
from tailrace.formats.data.labelled_answer import Label, LabelledAnswer
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.statistics import agreement, cohen_kappa, wilson_interval
from training.errors import DataError
from training.judges.base import Candidate, Judge, JudgeError, TextVerdict


@dataclass(frozen=True)
class Disagreement:
    """An answer that the judge and the person judge differently."""

    answer: LabelledAnswer
    verdict: TextVerdict


@dataclass(frozen=True)
class Calibration:
    """Comparison of a judge's verdicts with those of people."""

    judge: str
    version: str
    count: int
    """Number of answers that the judge could judge."""
    errors: list[str]
    """Reasons why it could not judge the others."""
    counts: Counter[tuple[str, str]]
    """Number of answers by label of the (person, judge)."""
    agreement: float
    kappa: float
    disagreements: list[Disagreement]

    @property
    def wrong_passes(self) -> list[Disagreement]:
        """Answers that the judge passes and the person fails."""
        return [case for case in self.disagreements if case.verdict.passed]

    def lines(self) -> Iterator[str]:
        """Yield the lines of a report for people."""
        agreed = self.count - len(self.disagreements)
        low, high = wilson_interval(agreed, self.count)
        yield (
            f"{self.judge} (version {self.version}): agrees on {agreed}/{self.count} = "
            f"{self.agreement:.3f} (95% interval {low:.3f}-{high:.3f}), Cohen's kappa "
            f"{self.kappa:.3f}, {len(self.wrong_passes)} wrong answers pass, "
            f"{len(self.errors)} errors"
        )
        for person in Label:
            counts = ", ".join(f"judge {judge}: {self.counts[person, judge]}" for judge in Label)
            yield f"  person {person}: {counts}"
        for case in self.disagreements:
            yield (
                f"  {case.answer.id}: person {case.answer.label}, "
                f"judge {_label(case.verdict)}: {case.verdict.reason}"
            )
        yield from (f"  error: {reason}" for reason in self.errors)


def read_labelled(path: Path) -> list[LabelledAnswer]:
    """Return the answers of a labels file.

    Raises:
        DataError: The file is missing or empty, or has wrong lines, all of which are named.
    """
    try:
        answers = read_records(LabelledAnswer, path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except FormatError as error:
        raise DataError(f"{path}: {error}") from error
    if not answers:
        raise DataError(f"{path} holds no labelled answer")
    return answers


def calibrate(judge: Judge, answers: Sequence[LabelledAnswer]) -> Calibration:
    """Compare the judge's verdicts with the labels of answers that people have judged.

    Raises:
        DataError: The judge can judge none of the answers.
    """
    candidates = [Candidate(answer.item, _prediction(answer)) for answer in answers]
    pairs: list[tuple[LabelledAnswer, TextVerdict]] = []
    errors: list[str] = []
    for answer, outcome in zip(answers, judge.judge_all(candidates), strict=True):
        if isinstance(outcome, JudgeError):
            errors.append(f"{answer.id}: {outcome}")
        else:
            pairs.append((answer, outcome))
    if not pairs:
        raise DataError(f"the judge {judge.name} could judge no answer; the first: {errors[0]}")
    people = [answer.label for answer, _ in pairs]
    verdicts = [_label(verdict) for _, verdict in pairs]
    return Calibration(
        judge=judge.name,
        version=judge.version,
        count=len(pairs),
        errors=errors,
        counts=Counter(zip(people, verdicts, strict=True)),
        agreement=agreement(people, verdicts),
        kappa=cohen_kappa(people, verdicts),
        disagreements=[Disagreement(a, v) for a, v in pairs if a.label != _label(v)],
    )


def _label(verdict: TextVerdict) -> Label:
    return Label.PASS if verdict.passed else Label.FAIL


def _prediction(answer: LabelledAnswer) -> Prediction:
    return Prediction(
        eval_set="labelled",
        example_id=answer.id,
        model_role=ModelRole.TRAINED,
        prompt=answer.item.shown_prompt,
        text=answer.text,
        finish_reason=FinishReason.EOS,
        prompt_tokens=0,
        completion_tokens=0,
    )
