"""Judges, the candidates that they judge and the verdicts that they give."""

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
class Candidate:
    """A prediction to judge, with its eval item."""

    item: EvalItem
    """Eval item that the prediction answers."""
    prediction: Prediction
    """Prediction to judge; never one that ended in an error."""
    other: Prediction | None = None
    """Another model's prediction for the same item, for judges that compare."""

    @cached_property
    def answer(self) -> str | None:
        """Generated text without its thinking; None if the thinking never ends."""
        if self.prediction.thinking_closed is False:
            # It began in the prompt, so that the text itself shows no trace of it.
            return None
        return without_thinking(self.prediction.text, self.item.answers)


@dataclass(frozen=True)
class TextVerdict:
    """A judge's verdict on one text, which a ``Verdict`` record then adds the keys to."""

    passed: bool
    """True for a right answer."""
    score: float
    """Score from 0 to 1."""
    reason: str
    """Reason in one sentence."""
    extracted: str = ""
    """Answer extracted from the text; empty for none."""
    evidence: str = ""
    """Place where the answer was found, for people."""
    vote: str | None = None
    """Answer in a comparable form, for majority votes; None if the judge derives none."""
    flexible: bool | None = None
    """True if the last number or phrase of the text is a right answer."""
    marked: bool | None = None
    """True if the text marks its answer."""
    cost_tokens: int = 0
    """Tokens that a judging model read and wrote."""


UNFINISHED_THINKING = TextVerdict(
    passed=False,
    score=0.0,
    reason="the text never ends its thinking, so that it gives no answer",
    vote="",
    flexible=False,
    marked=False,
)
"""Verdict on a text whose thinking never ends."""


class JudgeError(Exception):
    """A failure to judge. It says nothing about the text: the outcome is an error, not a fail."""

    def __init__(self, reason: str, cost_tokens: int = 0) -> None:
        super().__init__(reason)
        self.cost_tokens = cost_tokens
        """Tokens that a judging model had read and written before the failure."""


def require_answer(eval_item: EvalItem) -> None:
    """Check that a judge has an answer to compare with.

    Raises:
        JudgeError: The item has no expected answer.
    """
    if not eval_item.answers:
        raise JudgeError("the item has no expected_answer, with which this judge compares")


@dataclass(frozen=True)
class JudgeSetup:
    """Arguments of a judge's constructor."""

    spec: JudgeSpec
    """Entry in the run spec. Judges of other packages find their options in ``parameters``."""
    model: Path | None = None
    """Folder of the judging model, if the spec names one."""
    access: EndpointAccess = field(default_factory=EndpointAccess)
    """Servers that judges may reach, and the keys for them."""
    clock: date | None = None
    """Day that the judging model's chat template reads (default: today, UTC)."""


class Judge(Protocol):
    """A judge of predictions.

    Another package provides one by an entry point in the group ``tailrace.judges``: the entry
    point's name is the judge's, its object a callable that takes a :class:`JudgeSetup` and returns
    the judge.
    """

    @property
    def name(self) -> str:
        """Name in run specs."""
        ...

    @property
    def version(self) -> str:
        """Version, which must change whenever the same text could get another verdict."""
        ...

    @property
    def compares(self) -> bool:
        """True if the judge needs another model's predictions (:attr:`Candidate.other`)."""
        ...

    def judge_all(self, candidates: Sequence[Candidate]) -> Iterator[TextVerdict | JudgeError]:
        """Yield one verdict per candidate, in order, as each becomes ready.

        The caller may close the iterator early.
        """
        ...


class TextJudge(ABC):
    """A judge that looks at one text at a time."""

    name: str
    version: str
    compares = False
    reads_thinking = False
    """True to judge the whole text, False to judge the answer after the thinking."""

    @abstractmethod
    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """Return the verdict on one answer.

        Raises:
            JudgeError: The text cannot be judged.
        """

    def judge_all(self, candidates: Sequence[Candidate]) -> Iterator[TextVerdict | JudgeError]:
        """See :meth:`Judge.judge_all`. An exception fails only its candidate."""
        for candidate in candidates:
            try:
                text = candidate.prediction.text if self.reads_thinking else candidate.answer
                yield UNFINISHED_THINKING if text is None else self.judge(candidate.item, text)
            except JudgeError as error:
                yield error
            except Exception as error:  # noqa: BLE001 - reported as the verdict's error
                yield JudgeError(f"the judge failed: {type(error).__name__}: {error}")
