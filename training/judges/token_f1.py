"""The judge that grades how many words an answer shares with the expected one."""

from __future__ import annotations

from tailrace.formats.catalog import JUDGES
from tailrace.formats.judge_spec import TokenF1Options
from training.judges.base import JudgeSetup
from training.judges.overlap import OverlapJudge


class TokenF1Judge(OverlapJudge):
    """F1 of words, each counted as often as it occurs (as SQuAD, arXiv:1606.05250): ROUGE-1."""

    name = "token_f1"
    version = JUDGES[name]
    measure = "rouge1"

    def __init__(self, setup: JudgeSetup) -> None:
        super().__init__((setup.spec.token_f1 or TokenF1Options()).threshold)
