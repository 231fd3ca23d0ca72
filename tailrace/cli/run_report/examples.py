"""Predictions beside what the judges made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.formats.data.verdict import Outcome
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2

NOT_JUDGED = "not judged"

ORDER = (Outcome.FAIL.value, Outcome.ERROR.value, NOT_JUDGED, Outcome.PASS.value)
"""What a reader looks for first comes first."""

_OUTCOME = evaluation_pb2.Outcome.DESCRIPTOR
_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR


@dataclass(frozen=True)
class Example:
    """One verdict, or a prediction that has none."""

    outcome: str
    """One of :data:`ORDER`, unless the server knows more."""
    model: str
    prediction: evaluation_pb2.Prediction
    verdict: evaluation_pb2.Verdict
    """Empty where there is none."""

    @property
    def text(self) -> str:
        """The answer; line ends after its last word become signs, or nobody would see them."""
        written = self.prediction.text
        kept = written.rstrip()
        return kept + written[len(kept) :].replace("\n", "⏎")

    @property
    def rank(self) -> int:
        """Where its outcome comes in :data:`ORDER`; one that is new comes with the unjudged."""
        return ORDER.index(self.outcome if self.outcome in ORDER else NOT_JUDGED)


def examples_of(
    predictions: Sequence[evaluation_pb2.Prediction], verdicts: Iterable[evaluation_pb2.Verdict]
) -> list[Example]:
    """The verdicts on ``predictions``, by :data:`ORDER` and within it as predictions come."""
    judged: dict[tuple[Any, ...], list[evaluation_pb2.Verdict]]
    judged = {_key(prediction): [] for prediction in predictions}
    for verdict in verdicts:
        # Verdicts on predictions beyond the limit are not kept.
        if (of := judged.get(_key(verdict))) is not None:
            of.append(verdict)
    found = [
        _example(prediction, verdict)
        for prediction in predictions
        for verdict in judged[_key(prediction)] or (None,)
    ]
    return sorted(found, key=lambda example: example.rank)


def counts(examples: Iterable[Example]) -> dict[str, int]:
    """How many there are of each outcome that occurs, in :data:`ORDER`."""
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
