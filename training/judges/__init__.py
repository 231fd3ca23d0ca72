"""Judges: what decides whether a prediction is right."""

from __future__ import annotations

from training.errors import ConfigError
from training.judges.answer_correctness import AnswerCorrectnessJudge
from training.judges.base import Judge, Judgement

__all__ = ["JUDGES", "Judge", "Judgement", "find_judge"]

JUDGES: dict[str, Judge] = {judge.name: judge for judge in (AnswerCorrectnessJudge(),)}
"""The judges by name."""


def find_judge(name: str) -> Judge:
    """A judge by name. Raises :class:`training.errors.ConfigError` that lists the known ones."""
    if name not in JUDGES:
        raise ConfigError(f"there is no judge {name!r}; known: {', '.join(JUDGES)}")
    return JUDGES[name]
