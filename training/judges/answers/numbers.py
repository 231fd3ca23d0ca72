"""Numbers as people write them, with their exact values, and quantities: numbers with a unit."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from fractions import Fraction

from training.judges.answers.units import SYMBOLS, conversion, unit_name

_LONGEST = 200
_COMMAS = r"\d{1,3}(?:,\d{3}){1,12}"
_INTEGER = (
    rf"(?:{_COMMAS}(?!\d)|\d{{1,3}}(?:(?P<group>[ '_])\d{{3}})(?:(?P=group)\d{{3}}){{0,11}}(?!\d)|"
    r"\d{1,2}(?:,\d{2}){1,12},\d{3}(?!\d)|\d{1,3}(?:\.\d{3}){2,12}(?![\d.])|\d{1,40})"
)
_POWER = r"(?:e\s?(?P<e>[+-]?\d{1,2})|\s?[x×*·]\s?10\s?(?:\^|\*\*)\s?\(?(?P<p>[+-]?\d{1,2})\)?)"
_LITERAL = re.compile(
    rf"(?P<whole>\d{{1,40}})(?:\s|\s?-\s?|\s?and\s)(?P<over>\d{{1,40}})\s?/\s?(?P<under>\d{{1,40}})"
    rf"|(?P<above>\d{{1,40}})\s?/\s?(?P<below>\d{{1,40}})"
    rf"|(?P<integer>{_INTEGER})?(?P<fraction>(?<!\.)\.\d{{1,40}})?{_POWER}?",
    re.ASCII | re.IGNORECASE,
)
_LAST = re.compile(
    rf"(?<![\w.])-?(?:\d{{1,40}}\s?/\s?\d{{1,40}}|(?:{_COMMAS}|\d{{1,40}})?(?:\.\d{{1,40}})?)"
    r"(?<=\d)(?![\d%])",
    re.ASCII,
)
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+|\d+),(\d+)(?![\d.,])")
_POWER_OF_TEN = re.compile(r"(?<![\w.)^*/×·])10\s?(?:\^|\*\*)\s?\(?([+-]?\d{1,2})\)?(?![\d.^])")
_LARGE = re.compile(r"(?i: (thousand|million|billion|trillion)\b)|\s?k\b")
_THOUSANDS = {"k": 10**3, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_THOUSANDS["trillion"] = 10**12
MULTIPLES = {"K": 10**3, "M": 10**6, "mn": 10**6, "B": 10**9, "bn": 10**9}
"""Letters after a number that may also be units; the expected answer decides which."""

_GROUPED = re.compile(r"[,'_ .]")
_SIGN = re.compile(r"[+-]?\s?")
_WORD = re.compile(r"[a-zA-Z]+")
_WORDS = re.compile(r"[a-z]+(?:[ -][a-z]+){0,12}", re.ASCII | re.IGNORECASE)
_START = re.compile(
    r"(?P<about>(?:(?:approximately|approx\.?|about|around|roughly|circa|ca\.?|c\.)"
    r"(?: equal to)?\s|[~≈≅≃])?)\s?"
    rf"(?P<sign>[+-]|minus |negative |)\s?"
    rf"(?P<money>(?:us)?[{SYMBOLS}]|(?:usd|eur|gbp|jpy|inr)(?=[ \d]))?"
    r"\s?(?P<inner>[+-]?)\s?",
    re.IGNORECASE,
)
_UNIT = re.compile(
    rf"(?:[%°{SYMBOLS}]|[^\W\d_])(?:[^\W\d_]|[%°/^ .*·()-]|(?<=\^-)\d|(?<=[\^a-zA-Zμ])\d){{0,60}}"
)
_JOINING = re.compile(
    r"\b(?:or|and|to|not|no|but|maybe|perhaps|is|are|if|plus|minus|times|than|more|less|at|least|"
    r"most|approximately|about|wrong|correct|dozen|hundred)\b",
    re.IGNORECASE,
)


class Form(enum.Enum):
    """Ways of writing a number."""

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
    """Position in the text where the number ends."""


@dataclass(frozen=True)
class Quantity:
    """A number with a unit."""

    value: Fraction
    unit: str
    """Unit as :func:`training.judges.answers.units.unit_name` writes it; empty for none."""
    form: Form
    literal: str
    """Number as written."""
    about: bool
    """True if the text calls the number approximate."""

    def amount_in(self, unit: str) -> Fraction | None:
        """Return the value in another unit; None if that measures something else."""
        scale = conversion(self.unit, unit)
        return None if scale is None else self.value * scale.factor + scale.offset


def read_quantity(text: str) -> Quantity | None:
    """Return the quantity that all of a plain text gives; None for other text."""
    if len(text) > _LONGEST:
        return None
    start = _START.match(text)
    begin = start.end() if start else 0
    number = read_number(text, begin)
    if start is None or number is None or (start["sign"] and start["inner"]):
        return None
    unit = _read_unit(start["money"], text[number.end :])
    if unit is None:
        return None
    sign = start["inner"] or start["sign"].strip().casefold()
    value = -number.value if sign in ("-", "minus", "negative") else number.value
    literal = text[begin : number.end]
    return Quantity(value, unit, number.form, literal, bool(start["about"]))


def _read_unit(money: str | None, rest: str) -> str | None:
    """Return the unit after a number; None if anything else follows."""
    rest = rest.strip().lstrip("-").strip() if rest[:1] in " -" else rest
    if not rest:
        return unit_name(money) if money else ""
    if not _UNIT.fullmatch(rest) or _JOINING.search(rest):
        return None
    unit = unit_name(rest)
    # "$12 US dollars" repeats its unit, "$5 %" has two.
    return None if money and unit != unit_name(money) else unit


def rewritten(text: str) -> str:
    """Return a number in a notation that can be read: ``3,5`` as 3.5, ``10^3`` as 1e3."""
    return _POWER_OF_TEN.sub(r"1e\1", _DECIMAL_COMMA.sub(_pointed, text))


def _pointed(match: re.Match[str]) -> str:
    integer, part = match.groups()
    grouped = len(part) == 3 and "." not in integer and len(integer) <= 3
    return match[0] if grouped else f"{integer.replace('.', '')}.{part}"


def read_number(text: str, start: int = 0) -> Number | None:
    """Return the unsigned number in plain text that begins at ``start``, or None.

    ``1,234.50``, ``.5``, ``1e3``, ``1.2 × 10^3``, ``3/4``, ``1 1/2`` and ``1.2k`` are numbers, and
    so are words. Digits and exponents are bounded, so that hostile text is cheap.
    """
    match = _LITERAL.match(text, start)
    if match is None or match.end() == start:
        return _read_words(text, start)
    if match["below"] or match["under"]:
        return _read_fraction(match)
    return _read_decimal(text, match)


def _read_fraction(match: re.Match[str]) -> Number | None:
    below = int(match["below"] or match["under"])
    if not below:
        return None
    part = Fraction(int(match["above"] or match["over"]), below)
    if match["whole"]:
        return Number(int(match["whole"]) + part, Form.MIXED, match.end())
    return Number(part, Form.FRACTION, match.end())


def _read_decimal(text: str, match: re.Match[str]) -> Number | None:
    integer, part = _GROUPED.sub("", match["integer"] or ""), match["fraction"] or ""
    if not integer and not part:
        return None
    value = Fraction(f"{integer}{part}") if part else Fraction(int(integer))
    large = _LARGE.match(text, match.end())
    if large:
        name = (large[1] or "k").lower()
        return Number(value * _THOUSANDS[name], Form.WORDS, large.end())
    exponent = match["e"] or match["p"]
    if exponent:
        return Number(value * Fraction(10) ** int(exponent), Form.SCIENTIFIC, match.end())
    return Number(value, Form.DECIMAL if part else Form.INTEGER, match.end())


def number(text: str) -> Fraction | None:
    """Return the exact value of normalized text that is only a number in digits, or None."""
    sign = _SIGN.match(text)
    start = sign.end() if sign else 0
    literal = read_number(text, start)
    if literal is None or literal.end != len(text) or literal.form is Form.WORDS:
        return None
    return -literal.value if text.startswith("-") else literal.value


def last_number(text: str) -> Fraction | None:
    """Return the value of the last number or fraction in any plain text, or None."""
    numbers = [match.group() for match in _LAST.finditer(text)]
    return number(numbers[-1]) if numbers else None


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}
_PARTS |= {"seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10}


def _read_words(text: str, start: int) -> Number | None:
    """Return the number in words: "forty-two", "one thousand two hundred", "three quarters"."""
    match = _WORDS.match(text, start)
    if not match:
        return None
    total, current, last, end = 0, 0, 10**15, start
    for word in _WORD.finditer(match.group()):
        name = word.group().lower()
        value = _SMALL.get(name)
        if name in ("a", "an") and end == start:
            current, last = 1, 10
            continue
        part = _PARTS.get(name.removesuffix("s") if name != "halves" else name)
        if part and (end > start or last == 10 or part == 2):
            return Number(Fraction(total + current or 1, part), Form.WORDS, start + word.end())
        if name == "hundred" and 1 <= current <= 99:
            current, last = current * 100, 100
        elif name in _THOUSANDS and name != "k" and current:
            total, current, last = total + current * _THOUSANDS[name], 0, _THOUSANDS[name]
        elif name == "and" and last >= 100 and end > start:
            continue
        elif value is not None and _follows(value, last) and last != 10:
            current, last = current + value, value
        else:
            break
        end = start + word.end()
    return Number(Fraction(total + current), Form.WORDS, end) if end > start else None


def _follows(value: int, last: int) -> bool:
    """Return whether a word of this value may follow one of the last value: "forty", "two"."""
    if last >= 100:
        return True
    return last >= 20 and last % 10 == 0 and 1 <= value <= 9
