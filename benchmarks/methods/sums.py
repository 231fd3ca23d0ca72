"""A seeded task: sums of two numbers, with and without their answers."""

from __future__ import annotations

import random

from tailrace.formats.data.record import PromptRecord
from tailrace.formats.data.trace import Trace


def sums(seed: int, count: int) -> list[tuple[str, str]]:
    """Return distinct prompts with their answers."""
    generator = random.Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        a, b = (generator.randint(2, 60) for _ in range(2))
        pairs[f"What is {a} + {b}?"] = str(a + b)
    return list(pairs.items())


def traces(pairs: list[tuple[str, str]]) -> list[Trace]:
    """Return examples for the start by fine-tuning."""
    return [Trace(prompt, answer, id=str(i)) for i, (prompt, answer) in enumerate(pairs)]


def prompts(pairs: list[tuple[str, str]]) -> list[PromptRecord]:
    """Return prompts for the training on rewards."""
    return [
        PromptRecord(prompt, expected_answer=answer, id=str(i))
        for i, (prompt, answer) in enumerate(pairs)
    ]
