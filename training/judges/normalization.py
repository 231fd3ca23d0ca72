"""When two answers are the same: case, space, punctuation and number formats do not count."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_WRAPPING = "*_`\"'“”‘’$()[] "
_TRAILING = ".,;:!?"
_LATEX_BRACKETS = re.compile(r"\\[()\[\]]")
_MINUS = str.maketrans({"−": "-", "–": "-"})

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,40})"
_NUMBER = rf"[+-]?(?:{_DIGITS}(?:\.\d{{1,40}})?|\.\d{{1,40}})(?:e[+-]?\d{{1,2}})?"
_FRACTION = r"([+-]?\d{1,40})\s*/\s*(\d{1,40})"
_LATEX_FRACTION = re.compile(r"([+-]?)\\[dt]?frac\{(\d{1,40})\}\{(\d{1,40})\}")
_LAST = re.compile(rf"(?<![\w.])(?:{_FRACTION}|{_NUMBER})(?![\d%])", re.ASCII)


def normalize(text: str) -> str:
    """``text`` without differences that do not matter.

    Compatibility forms are unified (Unicode NFKC), case is folded, runs of space become one space;
    surrounding quotes, brackets and markup and trailing punctuation go, unless nothing else is
    there.
    """
    text = unicodedata.normalize("NFKC", text).casefold().translate(_MINUS)
    text = " ".join(_LATEX_BRACKETS.sub("", text).split())
    bare = text.lstrip(_WRAPPING).rstrip(_WRAPPING + _TRAILING)
    return bare or text


def number(text: str) -> Fraction | None:
    r"""The exact value of normalized text that is a number or a fraction, else None.

    ``1,234.50``, ``+5``, ``.5``, ``1e3``, ``3/4`` and ``\frac{3}{4}`` are numbers. Digits and
    exponents are bounded, so that hostile text costs nothing.
    """
    latex = _LATEX_FRACTION.fullmatch(text)
    if latex:
        text = f"{latex[1]}{latex[2]}/{latex[3]}"
    fraction = re.fullmatch(_FRACTION, text, re.ASCII)
    if fraction:
        return Fraction(int(fraction[1]), int(fraction[2])) if int(fraction[2]) else None
    return Fraction(text.replace(",", "")) if re.fullmatch(_NUMBER, text, re.ASCII) else None


def last_number(text: str) -> Fraction | None:
    """The value of the last number or fraction in any text, else None."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_MINUS)
    found = [match.group() for match in _LAST.finditer(plain)]
    return number(found[-1]) if found else None
