"""ROUGE's F-measures, of words of every script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_WORD = re.compile(r"\w+")
_LONGEST = 2000
"""Words of a text that are compared: the longest common subsequence takes their product."""


def scorer(measure: str) -> Callable[[str, str], float]:
    """What grades a text by an expected one, by the library's name of a measure (``rougeL``)."""
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
