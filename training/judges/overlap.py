"""The judges that grade how many words an answer shares with the expected one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from tailrace.formats.catalog import JUDGES
from tailrace.formats.eval_item import EvalItem
from tailrace.formats.judge_spec import RougeLOptions, TokenF1Options
from training.judges.base import Judgement, JudgeSetup, TextJudge
from training.judges.extraction import marked_answers

_WORD = re.compile(r"\w+")
_LONGEST = 2000
"""Words of an answer that are compared: the longest common subsequence takes their product."""


class OverlapJudge(TextJudge):
    """Grades by one of ROUGE's F-measures; the best of the accepted answers counts.

    The marked answer is compared, or the whole text where none or several are marked.
    """

    measure: str

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._score = _scorer(self.measure)

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """See :class:`training.judges.base.TextJudge`."""
        marked = marked_answers(text, whole_lines=False)
        answer = marked[0].text if len(marked) == 1 else text
        right = [item.expected_answer, *item.accepted_answers]
        score = max(self._score(each, answer) for each in right)
        passed = score >= self._threshold
        return Judgement(
            passed=passed,
            score=score,
            reason=f"{self.name} is {score:.3f}, {'not ' * passed}below {self._threshold:g}",
            extracted=answer[:1000],
            evidence=marked[0].evidence if len(marked) == 1 else "the whole text",
        )


class TokenF1Judge(OverlapJudge):
    """F1 of words, each counted as often as it occurs (as SQuAD, arXiv:1606.05250): ROUGE-1."""

    name = "token_f1"
    version = JUDGES[name]
    measure = "rouge1"

    def __init__(self, setup: JudgeSetup) -> None:
        super().__init__((setup.spec.token_f1 or TokenF1Options()).threshold)


class RougeLJudge(OverlapJudge):
    """F1 of the longest common subsequence of words (Lin 2004, aclanthology.org/W04-1013)."""

    name = "rouge_l"
    version = JUDGES[name]
    measure = "rougeL"

    def __init__(self, setup: JudgeSetup) -> None:
        super().__init__((setup.spec.rouge_l or RougeLOptions()).threshold)


class _Words:
    """Words of every script; the library's own tokenizer keeps a-z and 0-9 only."""

    def tokenize(self, text: str) -> list[str]:
        plain = unicodedata.normalize("NFKC", text).casefold()
        return _WORD.findall(plain)[:_LONGEST]


def _scorer(measure: str) -> Callable[[str, str], float]:
    # Imported late: it brings nltk, which takes more than a second.
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([measure], tokenizer=_Words())

    def score(expected: str, answer: str) -> float:
        return float(scorer.score(expected, answer)[measure].fmeasure)

    return score
