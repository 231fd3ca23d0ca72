"""The judges `token_f1` and `rouge_l`: the overlap of an answer's words with the expected one's.

Words of every script count. The answer is the marked one, or the whole text if none or several are
marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES, RougeLOptions, TokenF1Options
from training.judges.answers.extraction import (
    WHOLE_TEXT,
    extraction_rules,
    find_answers,
    right_answers,
)
from training.judges.base import JudgeSetup, TextJudge, TextVerdict, require_answer

_WORD = re.compile(r"\w+")
_LONGEST = 2000
"""Number of words compared: the longest common subsequence takes the product of both lengths."""


class OverlapJudge(TextJudge):
    """Scores by one of ROUGE's F-measures, against the accepted answer that is closest."""

    measure: str
    """Name of the F-measure in the library ``rouge_score``."""

    def __init__(self, threshold: float, markers: Sequence[str]) -> None:
        self._threshold, self._markers = threshold, markers
        self._score = scorer(self.measure)

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        require_answer(item)
        right = right_answers(item, self._markers)
        answers = find_answers(
            text, extraction_rules(item, right, self._markers, whole_lines=False)
        )
        is_marked = len(answers) == 1 and answers[0].marked
        answer = answers[0].text if is_marked else text
        score = max(self._score(expected, answer) for expected in right)
        passed = score >= self._threshold
        return TextVerdict(
            passed=passed,
            score=score,
            reason=f"{self.name} is {score:.3f}, {'not ' * passed}below {self._threshold:g}",
            extracted=answer[:1000],
            evidence=answers[0].evidence if is_marked else WHOLE_TEXT,
        )


class TokenF1Judge(OverlapJudge):
    """F1 of the bag of words, as in SQuAD (arXiv:1606.05250): ROUGE-1."""

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
    """Return a function of the expected and the given text, for one of the library's measures."""
    # Imported late: it imports nltk, which takes more than a second.
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer([measure], tokenizer=_Words())

    def score(expected: str, text: str) -> float:
        return float(rouge.score(expected, text)[measure].fmeasure)

    return score


class _Words:
    """A tokenizer for words of every script; the library's own keeps only a-z and 0-9."""

    def tokenize(self, text: str) -> list[str]:
        plain = unicodedata.normalize("NFKC", text).casefold()
        return _WORD.findall(plain)[:_LONGEST]
