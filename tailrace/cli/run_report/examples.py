"""Predictions with their verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.cli.show.prediction_view import answer_text, is_unfinished
from tailrace.formats.data.verdict import Outcome
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2

NOT_JUDGED = "not judged"

ORDER = (Outcome.FAIL.value, Outcome.ERROR.value, NOT_JUDGED, Outcome.PASS.value)
"""Order of outcomes in the report: the ones that need attention first."""

_OUTCOME = evaluation_pb2.Outcome.DESCRIPTOR
_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR


@dataclass(frozen=True)
class Example:
    """Prediction with one of its verdicts, or without any."""

    outcome: str
    """One of :data:`ORDER`, or an outcome that only a newer server knows."""
    model: str
    prediction: evaluation_pb2.Prediction
    verdict: evaluation_pb2.Verdict
    """Verdict; empty if the prediction is not judged."""

    @property
    def reasoning(self) -> str:
        """Thinking of the prediction, without its tags; empty for none."""
        return self.prediction.reasoning

    @property
    def is_unfinished(self) -> bool:
        """True if the thinking has no closing tag."""
        return is_unfinished(self.prediction)

    @property
    def answer(self) -> str:
        """Answer of the prediction, with visible signs for line feeds at its end."""
        text = answer_text(self.prediction)
        stripped = text.rstrip()
        return stripped + text[len(stripped) :].replace("\n", "⏎")

    @property
    def rank(self) -> int:
        """Position of the outcome in :data:`ORDER`; an unknown one ranks as not judged."""
        return ORDER.index(self.outcome if self.outcome in ORDER else NOT_JUDGED)


def examples_of(
    predictions: Sequence[evaluation_pb2.Prediction], verdicts: Iterable[evaluation_pb2.Verdict]
) -> list[Example]:
    """Return the verdicts on ``predictions``, by :data:`ORDER`, then in their order."""
    verdicts_by_key: dict[tuple[Any, ...], list[evaluation_pb2.Verdict]]
    verdicts_by_key = {_key(prediction): [] for prediction in predictions}
    for verdict in verdicts:
        # Verdicts on predictions beyond the limit are dropped.
        if (group := verdicts_by_key.get(_key(verdict))) is not None:
            group.append(verdict)
    examples = [
        _example(prediction, verdict)
        for prediction in predictions
        for verdict in verdicts_by_key[_key(prediction)] or (None,)
    ]
    return sorted(examples, key=lambda example: example.rank)


def counts(examples: Iterable[Example]) -> dict[str, int]:
    """Count the outcomes that occur, in :data:`ORDER`."""
    outcomes = [example.outcome for example in examples]
    return {outcome: outcomes.count(outcome) for outcome in ORDER if outcome in outcomes}


def _key(one: evaluation_pb2.Prediction | evaluation_pb2.Verdict) -> tuple[Any, ...]:
    return one.eval_set, one.example_id, one.model_role, one.sample


def _example(
    prediction: evaluation_pb2.Prediction, verdict: evaluation_pb2.Verdict | None
) -> Example:
    return Example(
        outcome=NOT_JUDGED if verdict is None else enum_word(_OUTCOME, verdict.outcome),
        model=enum_word(_ROLE, prediction.model_role),
        prediction=prediction,
        verdict=verdict or evaluation_pb2.Verdict(),
    )
