"""A seeded preference set: of two answers to a sum, the short and correct one is better."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tailrace.formats.data.record import CompletionRecord, PreferenceRecord

_OPENINGS = (
    "Let me think about this step by step. When we add the two numbers, the total is",
    "That is a good question! The sum of these numbers comes out at",
    "To answer this, I add the tens first and the ones afterwards, which gives",
)


def wordy(seed: int, answer: str) -> str:
    """Return the answer in a sentence that a seed chooses."""
    return f"{random.Random(seed).choice(_OPENINGS)} {answer}."


def both_styles(pairs: Sequence[tuple[str, str]]) -> list[CompletionRecord]:
    """Return examples for the start: short and wordy answers in turns, all correct."""
    return [
        CompletionRecord(prompt, answer if index % 2 else wordy(index, answer), id=str(index))
        for index, (prompt, answer) in enumerate(pairs)
    ]


def preferences(pairs: Sequence[tuple[str, str]]) -> list[PreferenceRecord]:
    """Return two preferences a sum: to a wordy correct answer, and to a short wrong one."""
    records = []
    for index, (prompt, answer) in enumerate(pairs):
        wrong = str(int(answer) + random.Random(index).choice((-10, -2, -1, 1, 2, 10)))
        for name, rejected in (("wordy", wordy(index, answer)), ("wrong", wrong)):
            records.append(PreferenceRecord(prompt, answer, rejected, id=f"{index}-{name}"))
    return records
