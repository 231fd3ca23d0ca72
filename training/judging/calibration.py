"""How well a judge agrees with people."""

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
from training.judges.base import Judge, JudgeError, Judgement, Question


@dataclass(frozen=True)
class Disagreement:
    """An answer that judge and person see differently."""

    answer: LabelledAnswer
    judgement: Judgement


@dataclass(frozen=True)
class Calibration:
    """A judge beside people."""

    judge: str
    version: str
    count: int
    """Answers that the judge could judge."""
    errors: list[str]
    """Why it could not judge the others."""
    counts: Counter[tuple[str, str]]
    """How often (person, judge) said what."""
    agreement: float
    kappa: float
    disagreements: list[Disagreement]

    @property
    def wrong_passes(self) -> list[Disagreement]:
        """Answers that the judge passes and the person does not."""
        return [each for each in self.disagreements if each.judgement.passed]

    def lines(self) -> Iterator[str]:
        """The same for people."""
        agreed = self.count - len(self.disagreements)
        low, high = wilson_interval(agreed, self.count)
        yield (
            f"{self.judge} (version {self.version}): agrees on {agreed}/{self.count} = "
            f"{self.agreement:.3f} (95% interval {low:.3f}-{high:.3f}), Cohen's kappa "
            f"{self.kappa:.3f}, {len(self.wrong_passes)} wrong answers pass, "
            f"{len(self.errors)} errors"
        )
        for person in Label:
            said = ", ".join(f"judge {judge}: {self.counts[person, judge]}" for judge in Label)
            yield f"  person {person}: {said}"
        for each in self.disagreements:
            yield (
                f"  {each.answer.id}: person {each.answer.label}, "
                f"judge {_label(each.judgement)}: {each.judgement.reason}"
            )
        yield from (f"  error: {reason}" for reason in self.errors)


def read_labelled(path: Path) -> list[LabelledAnswer]:
    """The answers of a labels file.

    Raises :class:`training.errors.DataError` naming every wrong line.
    """
    try:
        found = read_records(LabelledAnswer, path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except FormatError as error:
        raise DataError(f"{path}: {error}") from error
    if not found:
        raise DataError(f"{path} holds no labelled answer")
    return found


def calibrate(judge: Judge, answers: Sequence[LabelledAnswer]) -> Calibration:
    """Let the judge judge what people have judged.

    Raises :class:`training.errors.DataError` where it can judge none of it.
    """
    said = judge.judge_all([Question(each.item, _prediction(each)) for each in answers])
    judged: list[tuple[LabelledAnswer, Judgement]] = []
    errors: list[str] = []
    for answer, found in zip(answers, said, strict=True):
        if isinstance(found, JudgeError):
            errors.append(f"{answer.id}: {found}")
        else:
            judged.append((answer, found))
    if not judged:
        raise DataError(f"the judge {judge.name} could judge no answer; the first: {errors[0]}")
    people = [answer.label for answer, _ in judged]
    verdicts = [_label(judgement) for _, judgement in judged]
    return Calibration(
        judge=judge.name,
        version=judge.version,
        count=len(judged),
        errors=errors,
        counts=Counter(zip(people, verdicts, strict=True)),
        agreement=agreement(people, verdicts),
        kappa=cohen_kappa(people, verdicts),
        disagreements=[Disagreement(a, j) for a, j in judged if a.label != _label(j)],
    )


def _label(judgement: Judgement) -> Label:
    return Label.PASS if judgement.passed else Label.FAIL


def _prediction(answer: LabelledAnswer) -> Prediction:
    return Prediction(
        eval_set="labelled",
        example_id=answer.id,
        model_role=ModelRole.TRAINED,
        prompt=answer.item.prompt,
        text=answer.text,
        finish_reason=FinishReason.EOS,
        prompt_tokens=0,
        completion_tokens=0,
    )
