"""The judge `contains`: given texts must occur in the answer."""

from __future__ import annotations

import unicodedata

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES, ContainsOptions
from training.judges.answers.extraction import gold_answer
from training.judges.answers.normalization import clean
from training.judges.base import JudgeSetup, TextJudge, TextVerdict, require_answer


class ContainsJudge(TextJudge):
    """Passes texts that contain the given texts, or the item's right answers.

    Unicode compatibility forms and kinds of space make no difference.
    """

    name = "contains"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        self._options = setup.spec.contains or ContainsOptions()

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`. With ``all``, the score is a share."""
        values = self._options.values or _right_texts(item)
        plain = self._plain(text)
        present = [value for value in values if self._plain(value) in plain]
        missing = [value for value in values if value not in present]
        passed = not missing if self._options.all else bool(present)
        return TextVerdict(
            passed=passed,
            score=len(present) / len(values) if self._options.all else float(passed),
            reason=f"lacks {_quoted(missing)}" if missing and not passed else "contains it",
            extracted=present[0] if present else "",
            evidence="anywhere in the text" if present else "",
        )

    def _plain(self, text: str) -> str:
        text = " ".join(unicodedata.normalize("NFKC", clean(text)).split())
        return text.casefold() if self._options.ignore_case else text


def _right_texts(eval_item: EvalItem) -> list[str]:
    require_answer(eval_item)
    texts = map(gold_answer, eval_item.answers) if eval_item.marked else eval_item.answers
    return list(dict.fromkeys(texts))


def _quoted(values: list[str]) -> str:
    quoted = ", ".join(repr(value[:80]) for value in values[:3])
    return quoted + (f" and {len(values) - 3} more" if len(values) > 3 else "")
