"""The judge of texts that must occur."""

from __future__ import annotations

import unicodedata

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES, ContainsOptions
from training.judges.answers.extraction import gold_answer
from training.judges.answers.normalization import clean
from training.judges.base import Judgement, JudgeSetup, TextJudge


class ContainsJudge(TextJudge):
    """Passes texts in which the given texts, or the item's answers, occur.

    Unicode's compatibility forms and kinds of space do not count.
    """

    name = "contains"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        self._options = setup.spec.contains or ContainsOptions()

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """See :class:`training.judges.base.TextJudge`. The score is the share that occurs."""
        answers = [item.expected_answer, *item.accepted_answers]
        wanted = self._options.values or list(dict.fromkeys(map(gold_answer, answers)))
        plain = self._plain(text)
        found = [value for value in wanted if self._plain(value) in plain]
        missing = [value for value in wanted if value not in found]
        passed = not missing if self._options.all else bool(found)
        return Judgement(
            passed=passed,
            score=len(found) / len(wanted) if self._options.all else float(passed),
            reason=f"lacks {_quoted(missing)}" if missing and not passed else "contains it",
            extracted=found[0] if found else "",
            evidence="anywhere in the text" if found else "",
        )

    def _plain(self, text: str) -> str:
        text = " ".join(unicodedata.normalize("NFKC", clean(text)).split())
        return text.casefold() if self._options.ignore_case else text


def _quoted(values: list[str]) -> str:
    shown = ", ".join(repr(value[:80]) for value in values[:3])
    return shown + (f" and {len(values) - 3} more" if len(values) > 3 else "")
