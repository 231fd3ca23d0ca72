"""Corrections: sentences that take an answer back."""

from __future__ import annotations

import re

_QUOTED = r"[\s*_>(\"'“-]*"
_STOP = r"\s*[,.!:;…—–]"
_CORRECTION = re.compile(
    rf"(?:^|[.!?;\n—–]){_QUOTED}(?P<said>(?:(?:oh|hmm+|but|no)\b[\s,.!…—–-]+)*"
    r"(?:wait\b(?!\s+(?:for|until|time))|actually\b|corrections?\b|corrected\b|oops\b|"
    r"hold on\b|scratch that\b|on second thoughts?\b|my (?:mistake|bad)\b|"
    rf"sorry{_STOP}|i (?:was|am) (?:wrong|mistaken)\b|i made an? (?:\w+ )?(?:mistake|error)\b|"
    r"let me (?:correct|redo|reconsider|recalculate|recompute)\b|"
    r"(?:that|this|it)(?:['’]s| is| was) (?:wrong|incorrect|not (?:right|correct))\b))",
    re.IGNORECASE,
)
# Not behind a question: whoever asks "Is it even?" may say no.
_NO = re.compile(rf"(?:^|[.!;\n—–]){_QUOTED}(?P<said>no(?:{_STOP}|\s+-|\s+wait\b))", re.IGNORECASE)
_WITHIN = re.compile(
    r",\s*(?P<said>no,?\s+wait\b|wait,?\s+no\b|no,\s+(?:it|that|i)\b)", re.IGNORECASE
)
_SAYS_NO = re.compile(r"\W*no\b", re.IGNORECASE)
_LONGEST = 300


def correction(answer: str, text: str, start: int) -> tuple[int, int] | None:
    """Where the text behind an answer, from ``start`` on, takes it back; None where it does not.

    From the word that does ("no", "wait", "actually") to the end of its line. A "no" behind the
    answer "no" only repeats it.
    """
    patterns = [_CORRECTION, _WITHIN, *([] if _SAYS_NO.match(answer) else [_NO])]
    found = [match.start("said") for each in patterns if (match := each.search(text, start))]
    if not found:
        return None
    begin = min(found)
    limit = min(len(text), begin + _LONGEST)
    line = text.find("\n", begin, limit)
    return begin, line if line >= 0 else limit
