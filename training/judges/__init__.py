"""Judges, which decide whether predictions are right."""

from __future__ import annotations

from training.judges.base import Candidate, Judge, JudgeError, JudgeSetup, TextJudge, TextVerdict
from training.judges.registry import judge_names, make_judge

__all__ = [
    "Candidate",
    "Judge",
    "JudgeError",
    "JudgeSetup",
    "TextJudge",
    "TextVerdict",
    "judge_names",
    "make_judge",
]
