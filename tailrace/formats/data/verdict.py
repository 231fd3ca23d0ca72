"""Verdicts: the outcomes of judging predictions."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tailrace.formats.data.message import MAX_CONTENT
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.schema import key

MAX_EXPECTED = MAX_CONTENT
"""Maximum length of an expected answer, in characters; the rest is cut off."""


class Outcome(enum.StrEnum):
    """The outcome of judging one prediction."""

    PASS = "pass"
    """The answer is right."""
    FAIL = "fail"
    """The answer is wrong, ambiguous or missing from the text."""
    ERROR = "error"
    """The prediction is missing or ended in an error, or the judge failed."""


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on one prediction: one line of verdicts.jsonl."""

    eval_set: str = key("The eval set of the item.", minimum=1, max_length=128)
    example_id: str = key("The id of the item.", minimum=1, max_length=128)
    model_role: ModelRole = key("Model that generated the prediction.")
    judge: str = key("The judge's name.", minimum=1, max_length=63)
    version: str = key(
        "The judge's version; scores of different versions do not compare.", minimum=1
    )
    outcome: Outcome = key("The outcome.")
    expected: str = key(
        "The expected answer, or the expected calls of tools.", max_length=MAX_EXPECTED
    )
    reason: str = key("Reason in one sentence.", max_length=100_000)
    sample: int = key("Number of the sample of this item, from 0.", default=0, minimum=0)
    score: float | None = key(
        "Score of the prediction, 0-1; unset with outcome error.",
        default=None,
        minimum=0,
        maximum=1,
    )
    extracted: str = key("The answer found in the text; empty for none.", default="")
    evidence: str = key(
        "Place where `extracted` was found (`line Answer:`, `\\boxed`); empty for none.",
        default="",
        max_length=256,
    )
    cost_tokens: int = key(
        "Tokens that a judging model read and wrote.", unit="tokens", default=0, minimum=0
    )

    def __post_init__(self) -> None:
        """Remove the score of an error, which averages would otherwise count as a fail."""
        if self.outcome is Outcome.ERROR:
            object.__setattr__(self, "score", None)
