"""What the judges have in common that grade by shared words."""

from __future__ import annotations

from tailrace.formats.eval_item import EvalItem
from training.judges.base import Judgement, TextJudge
from training.judges.extraction import marked_answers
from training.judges.rouge import scorer


class OverlapJudge(TextJudge):
    """Grades by one of ROUGE's F-measures; the best of the accepted answers counts.

    The marked answer is compared, or the whole text where none or several are marked.
    """

    measure: str
    """The library's name of it."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._score = scorer(self.measure)

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
