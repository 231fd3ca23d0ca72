"""Numbers as people write them, with their exact values."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from fractions import Fraction

_INTEGER = r"(?:\d{1,3}(?:[,'_]\d{3}){1,12}|\d{1,40})"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d{{1,40}})?|\.\d{{1,40}})"
_POWER = r"(?:e\s?(?P<e>[+-]?\d{1,2})|\s?[x×*·]\s?10\s?(?:\^|\*\*)\s?\(?(?P<p>[+-]?\d{1,2})\)?)"
_LITERAL = re.compile(
    rf"(?P<whole>\d{{1,40}})(?:\s|\s?-\s?|\s?and\s)(?P<over>\d{{1,40}})\s?/\s?(?P<under>\d{{1,40}})"
    rf"|(?P<above>\d{{1,40}})\s?/\s?(?P<below>\d{{1,40}})"
    rf"|(?P<decimal>{_DECIMAL}){_POWER}?",
    re.ASCII | re.IGNORECASE,
)
_LAST = re.compile(rf"(?<![\w.])-?(?:\d{{1,40}}\s?/\s?\d{{1,40}}|{_DECIMAL})(?![\d%])", re.ASCII)
_LARGE = re.compile(r" (thousand|million|billion|trillion)\b", re.IGNORECASE)
_THOUSANDS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_GROUPED = re.compile(r"[,'_]")
_SIGN = re.compile(r"[+-]?\s?")
_WORD = re.compile(r"[a-zA-Z]+")
_WORDS = re.compile(r"[a-z]+(?:[ -][a-z]+){0,8}", re.ASCII | re.IGNORECASE)


class Form(enum.Enum):
    """How a number is written."""

    INTEGER = enum.auto()
    DECIMAL = enum.auto()
    FRACTION = enum.auto()
    MIXED = enum.auto()
    SCIENTIFIC = enum.auto()
    WORDS = enum.auto()


@dataclass(frozen=True)
class Number:
    """A number as written."""

    value: Fraction
    form: Form
    end: int
    """Where it ends in its text."""


def read_number(text: str, start: int = 0) -> Number | None:
    """The unsigned number in plain text that begins at ``start``, or None.

    ``1,234.50``, ``.5``, ``1e3``, ``1.2 × 10^3``, ``3/4`` and ``1 1/2`` are numbers, and so are
    words below a thousand. Digits and exponents are bounded, so that hostile text costs nothing.
    """
    match = _LITERAL.match(text, start)
    if not match:
        return _read_words(text, start)
    if match["whole"]:
        if not int(match["under"]):
            return None
        part = Fraction(int(match["over"]), int(match["under"]))
        return Number(int(match["whole"]) + part, Form.MIXED, match.end())
    if match["above"]:
        if not int(match["below"]):
            return None
        value = Fraction(int(match["above"]), int(match["below"]))
        return Number(value, Form.FRACTION, match.end())
    digits = _GROUPED.sub("", match["decimal"])
    large = _LARGE.match(text, match.end())
    if large:
        value = Fraction(digits) * _THOUSANDS[large[1].lower()]
        return Number(value, Form.WORDS, large.end())
    form = Form.DECIMAL if "." in digits else Form.INTEGER
    exponent = match["e"] or match["p"]
    if exponent:
        value = Fraction(digits) * Fraction(10) ** int(exponent)
        return Number(value, Form.SCIENTIFIC, match.end())
    return Number(Fraction(digits if "." in digits else int(digits)), form, match.end())


def number(text: str) -> Fraction | None:
    """The exact value of normalized text that is nothing but a number in digits, else None."""
    sign = _SIGN.match(text)
    start = sign.end() if sign else 0
    found = read_number(text, start)
    if found is None or found.end != len(text) or found.form is Form.WORDS:
        return None
    return -found.value if text.startswith("-") else found.value


def last_number(text: str) -> Fraction | None:
    """The value of the last number or fraction in any plain text, else None."""
    found = [match.group() for match in _LAST.finditer(text)]
    return number(found[-1]) if found else None


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}


def _read_words(text: str, start: int) -> Number | None:
    match = _WORDS.match(text, start)
    if not match:
        return None
    total, last, end = 0, 1000, start
    for word in _WORD.finditer(match.group()):
        name = word.group().lower()
        if name == "hundred" and 1 <= total <= 9:
            total, last = total * 100, 100
        elif name == "and" and last == 100:
            continue
        elif name in _SMALL and _follows(_SMALL[name], last):
            total, last = total + _SMALL[name], _SMALL[name]
        else:
            break
        end = start + word.end()
    return Number(Fraction(total), Form.WORDS, end) if end > start else None


def _follows(value: int, last: int) -> bool:
    """Whether a word of this value may stand behind one of the last value: "forty", "two"."""
    if last >= 100:
        return True
    return last >= 20 and last % 10 == 0 and 1 <= value <= 9
