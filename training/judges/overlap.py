"""The judges that grade how many words an answer shares with the expected one, by ROUGE.

Words are those of every script, and the answer is the marked one, or the whole text where none or
several are marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES, RougeLOptions, TokenF1Options
from training.judges.answers.extraction import find_answers, reading_for, right_answers
from training.judges.base import Judgement, JudgeSetup, TextJudge

_WORD = re.compile(r"\w+")
_LONGEST = 2000
"""Words of a text that are compared: the longest common subsequence takes their product."""


class OverlapJudge(TextJudge):
    """Grades by one of ROUGE's F-measures; the best of the accepted answers counts."""

    measure: str
    """The library's name of it."""

    def __init__(self, threshold: float, markers: Sequence[str]) -> None:
        self._threshold, self._markers = threshold, markers
        self._score = scorer(self.measure)

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """See :class:`training.judges.base.TextJudge`."""
        right = right_answers(item)
        found = find_answers(text, reading_for(item, right, self._markers, whole_lines=False))
        one = len(found) == 1 and found[0].marked
        answer = found[0].text if one else text
        score = max(self._score(each, answer) for each in right)
        passed = score >= self._threshold
        return Judgement(
            passed=passed,
            score=score,
            reason=f"{self.name} is {score:.3f}, {'not ' * passed}below {self._threshold:g}",
            extracted=answer[:1000],
            evidence=found[0].evidence if one else "the whole text",
        )


class TokenF1Judge(OverlapJudge):
    """F1 of words, each counted as often as it occurs (as SQuAD, arXiv:1606.05250): ROUGE-1."""

    name = "token_f1"
    version = JUDGES[name]
    measure = "rouge1"

    def __init__(self, setup: JudgeSetup) -> None:
        super().__init__((setup.spec.token_f1 or TokenF1Options()).threshold, setup.spec.markers)


class RougeLJudge(OverlapJudge):
    """F1 of the longest common subsequence of words (Lin 2004, aclanthology.org/W04-1013)."""

    name = "rouge_l"
    version = JUDGES[name]
    measure = "rougeL"

    def __init__(self, setup: JudgeSetup) -> None:
        super().__init__((setup.spec.rouge_l or RougeLOptions()).threshold, setup.spec.markers)


def scorer(measure: str) -> Callable[[str, str], float]:
    """Return what grades a text by an expected one, by the library's name of a measure."""
    # Imported late: it brings nltk, which takes more than a second.
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer([measure], tokenizer=_Words())

    def score(expected: str, text: str) -> float:
        return float(rouge.score(expected, text)[measure].fmeasure)

    return score


class _Words:
    """Words of every script; the library's own tokenizer keeps a-z and 0-9 only."""

    def tokenize(self, text: str) -> list[str]:
        plain = unicodedata.normalize("NFKC", text).casefold()
        return _WORD.findall(plain)[:_LONGEST]
