"""What a judge is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tailrace.formats.eval_item import EvalItem


@dataclass(frozen=True)
class Judgement:
    """What a judge says about one text."""

    passed: bool
    """Whether the answer is right."""
    score: float
    """From 0 to 1."""
    extracted: str
    """The answer found in the text; empty for none."""
    reason: str
    """Why, in one sentence."""
    flexible: bool
    """Whether it would be right if the last number or phrase counted as the answer."""
    marked: bool
    """Whether the text marks its answer."""


class Judge(Protocol):
    """Decides whether a text answers an item. It holds no state and asks nobody outside."""

    @property
    def name(self) -> str:
        """What run specs call it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same text could get another judgement."""
        ...

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """Judge one generated text."""
        ...
