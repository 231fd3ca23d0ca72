"""What a judge is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.thinking import without_thinking
from tailrace.formats.endpoint_access import EndpointAccess
from tailrace.formats.spec.judge_spec import JudgeSpec


@dataclass(frozen=True)
class Question:
    """One prediction to judge."""

    item: EvalItem
    """What was asked."""
    prediction: Prediction
    """What the model answered; never one that ended in an error."""
    other: Prediction | None = None
    """Another model's answer to the same item, for judges that compare."""

    @cached_property
    def answer(self) -> str | None:
        """The generated text without its thinking; None where the thinking never ends."""
        right = [self.item.expected_answer, *self.item.accepted_answers]
        return without_thinking(self.prediction.text, right)


@dataclass(frozen=True)
class Judgement:
    """What a judge says about one text."""

    passed: bool
    """Whether the answer is right."""
    score: float
    """From 0 to 1."""
    reason: str
    """Why, in one sentence."""
    extracted: str = ""
    """The answer found in the text; empty for none."""
    evidence: str = ""
    """Where it was found."""
    vote: str | None = None
    """The answer in comparable form, for majority votes; None where the judge knows none."""
    flexible: bool | None = None
    """Whether it would be right if the last number or phrase counted as the answer."""
    marked: bool | None = None
    """Whether the text marks its answer."""
    cost_tokens: int = 0
    """Tokens that a judging model read and wrote."""


UNFINISHED = Judgement(
    passed=False,
    score=0.0,
    reason="the text never ends its thinking, so that it gives no answer",
    vote="",
    flexible=False,
    marked=False,
)
"""The judgement of a text whose thinking never ends."""


class JudgeError(Exception):
    """A text could not be judged. That says nothing about the text: the verdict is an error."""

    def __init__(self, reason: str, cost_tokens: int = 0) -> None:
        super().__init__(reason)
        self.cost_tokens = cost_tokens
        """Tokens that a judging model had read and written by then."""


@dataclass(frozen=True)
class JudgeSetup:
    """What a judge is made from."""

    spec: JudgeSpec
    """Its entry in the run spec. Judges from outside find their options in ``parameters``."""
    model: Path | None = None
    """Folder of the model that judges, where the spec names one."""
    access: EndpointAccess = field(default_factory=EndpointAccess)
    """Servers that may be asked, and the keys for them."""
    clock: date | None = None
    """The day that its chat template reads (default: today, UTC)."""


class Judge(Protocol):
    """Decides whether texts answer their items.

    Other packages ship judges by an entry point in the group ``tailrace.judges``: its name is the
    judge's, its object a callable that takes a :class:`JudgeSetup` and returns the judge.
    """

    @property
    def name(self) -> str:
        """What run specs call it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same text could get another judgement."""
        ...

    @property
    def compares(self) -> bool:
        """Whether it needs another model's answers (:attr:`Question.other`)."""
        ...

    def judge_all(self, questions: Sequence[Question]) -> Iterator[Judgement | JudgeError]:
        """One judgement for each question, in their order, as they come.

        Whoever reads them may close the iterator early.
        """
        ...


class TextJudge(ABC):
    """A judge that looks at one text after the other."""

    name: str
    version: str
    compares = False
    reads_thinking = False
    """Whether it judges the whole text; otherwise the answer behind the thinking."""

    @abstractmethod
    def judge(self, item: EvalItem, text: str) -> Judgement:
        """Judge one answer. Raises :class:`JudgeError` where it cannot."""

    def judge_all(self, questions: Sequence[Question]) -> Iterator[Judgement | JudgeError]:
        """See :class:`Judge`. Whatever a judge raises makes this one verdict an error."""
        for question in questions:
            try:
                text = question.prediction.text if self.reads_thinking else question.answer
                yield UNFINISHED if text is None else self.judge(question.item, text)
            except JudgeError as error:
                yield error
            except Exception as error:  # noqa: BLE001 - told in the verdict, which is an error
                yield JudgeError(f"the judge failed: {type(error).__name__}: {error}")
