"""The judge that grades how many words an answer has in the expected one's order."""

from __future__ import annotations

from tailrace.formats.catalog import JUDGES
from tailrace.formats.judge_spec import RougeLOptions
from training.judges.base import JudgeSetup
from training.judges.overlap import OverlapJudge


class RougeLJudge(OverlapJudge):
    """F1 of the longest common subsequence of words (Lin 2004, aclanthology.org/W04-1013)."""

    name = "rouge_l"
    version = JUDGES[name]
    measure = "rougeL"

    def __init__(self, setup: JudgeSetup) -> None:
        super().__init__((setup.spec.rouge_l or RougeLOptions()).threshold)
