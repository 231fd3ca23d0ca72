"""Judges: what decides whether a prediction is right."""

from __future__ import annotations

from training.judges.base import Judge, JudgeError, Judgement, JudgeSetup, Question, TextJudge
from training.judges.registry import judge_names, make_judge

__all__ = [
    "Judge",
    "JudgeError",
    "Judgement",
    "JudgeSetup",
    "Question",
    "TextJudge",
    "judge_names",
    "make_judge",
]
