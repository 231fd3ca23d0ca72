"""An answer as written, and the ways to read it."""

from __future__ import annotations

import re
from functools import cached_property

from training.judges.dates import Day, read_day
from training.judges.lists import read_list
from training.judges.normalization import bare, normalize, plain
from training.judges.quantities import Quantity, read_quantity

LONGEST = 300
"""Characters of an answer that may be a number, a date or several things; longer ones are text."""

_ARTICLE = re.compile(r"(?:the|an?) (?=\S)")
_OPERATOR_SPACE = re.compile(r"\s*([-+*/=^×·÷<>≤≥≈±(),])\s*")
_ASSIGNED = re.compile(r"[^\W\d_][\w']{0,15}(?:\([^\W\d_]\))?\s*=\s*(?=[^=])")
_CALCULATION = re.compile(r"[(\d][-+*/×÷·^(). \d,]*[-+*/×÷·^][-+*/×÷·^(). \d,]*=\s*(?=[^=]+\Z)")
_REASON = re.compile(
    r",?\s+(?:because|since)\b|(?<=\byes)[,.;:]\s|(?<=\bno)[,.;:]\s", re.IGNORECASE
)
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
_INDEX = re.compile(r"(?<=[^\W\d_])_(?=\d)")
_DOUBT = re.compile(r"n['’]t\b|\b(?:not|no|maybe|perhaps|but|however|wrong|or)\b", re.IGNORECASE)
_DOUBT_OF_NO = re.compile(r"\b(?:yes|maybe|perhaps|but|however|wrong|or)\b", re.IGNORECASE)


class Answer:
    """One answer, read in the ways that are asked for."""

    def __init__(self, written: str, *, marked: bool = True) -> None:
        self.written = written
        self.text = normalize(written)
        self._marked = marked

    @cached_property
    def words(self) -> str:
        """Text that differs from others only in what matters to text."""
        text = _INDEX.sub("", _HYPHEN.sub(" ", _ARTICLE.sub("", self.text, count=1)))
        return _OPERATOR_SPACE.sub(r"\1", text)

    @cached_property
    def quantity(self) -> Quantity | None:
        """The number that it is, if it is one; of a marked ``x = 5`` or ``2 + 3 = 5`` the 5."""
        if len(self.written) > LONGEST:
            return None
        text = plain(self.written).lstrip('"“”*_` ').rstrip('.,;:!"“”*_` ')
        if text[:1] == text[-1:] == "'":
            text = text[1:-1]
        if self._marked:
            text = _CALCULATION.sub("", _ASSIGNED.sub("", text, count=1), count=1)
        return read_quantity(bare(text))

    def without_reason(self) -> Answer | None:
        """The answer before a ``because``, if there is one."""
        short = self._marked and len(self.written) <= LONGEST
        match = _REASON.search(self.written) if short else None
        if not match:
            return None
        head, reason = self.written[: match.start()], self.written[match.end() :]
        # "No, it is not." says it twice; "Yes, but not always." takes it back.
        doubt = _DOUBT_OF_NO if normalize(head) == "no" else _DOUBT
        return None if doubt.search(reason) else Answer(head)

    @cached_property
    def day(self) -> Day | None:
        """The date that it is, if it is one."""
        return read_day(self.text)

    @cached_property
    def parts(self) -> list[str]:
        """The elements of the list that it is; a single one for no list."""
        return read_list(self.text)


def same_text(one: Answer, two: Answer) -> bool:
    """Whether two answers differ only in what does not matter to text."""
    if one.text == two.text or one.words == two.words:
        return True
    first, second = bare(one.text), bare(two.text)
    # (1, 2) is 1, 2; but [1, 2] is another interval.
    both = first != one.text and second != two.text
    return not both and first == second
