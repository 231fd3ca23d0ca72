r"""Equality of mathematical answers, by the library math-verify.

Each side is parsed as LaTeX in full: by itself, the library would take the last number of
``the answer is not 5``. Whatever it drops when parsing (units, words, percent and degree signs) is
compared first, and so are plain numbers, which it rounds.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from fractions import Fraction
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

from training.judges.answers.normalization import normalize
from training.judges.answers.numbers import number

_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WRAPPERS = re.compile(r"\\[()\[\]]|\$|\\left|\\right|\\displaystyle|\\[,;!]")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LETTER = re.compile(r"[^\W\d_]")
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "sec", "csc", "cot", "log", "ln", "exp", "sqrt", "pi", "or", "and"]
)
_NAMED = re.compile(r"^\s*[a-zA-Z](?:\s*\(\s*[a-z]\s*\))?\s*=(?!=)")
_SCIENTIFIC = re.compile(r"(?:\\times|\\cdot|×|\*)\s*10\s*\^")
_DEGREES = re.compile(r"\\circ|\\degree|°")
_WORK = re.compile(
    r"[+*!×÷^]|\\(?:times|cdot|div|sqrt|log|ln|exp|sin|cos|tan|sec|csc|cot|binom)(?![a-zA-Z])|"
    r"(?<=[\w)}])\s*-|\b(?:or|and|sqrt|log|ln|exp|sin|cos|tan)\b|[,;]"
)
_DIVISION = re.compile(r"\\[dt]?frac|/")
_ROOT = re.compile(r"(?:√|(?<![\\a-zA-Z])sqrt)\s*(?:\(([^()]*)\)|(\d+|[a-zA-Z]))")
_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(sin|cos|tan|log|ln|exp)(?![a-zA-Z])")
_SYMBOLS = {
    symbol: rf"\{name} "
    for symbol, name in {
        **{"∞": "infty", "×": "times", "·": "cdot", "÷": "div", "±": "pm", "≤": "le", "≥": "ge"},
        **{"≠": "ne", "∪": "cup", "∩": "cap", "∈": "in", "∅": "emptyset", "ℝ": "mathbb{R}"},
    }.items()
} | {"²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"}
_ROUNDING = 12
"""Decimal places in which a decimal and another expression must agree; the default is 6."""
_PRECISION = 30
"""Digits to which the library computes differences; its default is 15."""


def answer(request: dict[str, Any]) -> dict[str, object]:
    """Serve a request of :mod:`training.judges.math_equivalence`, in its process."""
    # The library warns about a missing time limit; this process is killed instead.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    equal, parsed = compare(request["right"], request["answer"])
    return {"same": equal, "parsed": parsed}


def compare(right: list[str], answer: str) -> tuple[bool, str]:
    """Return whether ``answer`` equals one of ``right``, and how it was understood.

    On text that it cannot parse, the library may raise any exception.
    """
    understood = ""
    for expected in right:
        gold, candidate = _plain(expected), _plain(answer)
        if not _NAMED.match(gold):
            candidate = _NAMED.sub("", candidate)
        if "".join(gold.split()) == "".join(candidate.split()):
            return True, candidate
        if not _comparable(gold, candidate):
            continue
        gold_value, value = plain_number(gold), plain_number(candidate)
        if gold_value is not None and value is not None:
            understood = str(value)
            if gold_value == value:
                return True, understood
            continue
        expressions = _parse(candidate)
        understood = str(expressions[0])[:1000] if expressions else ""
        if expressions and _same(_parse(gold), expressions):
            return True, understood
    return False, understood


def plain_number(latex: str) -> Fraction | None:
    """Return the exact value of text that is only a number; None for other text."""
    return number(normalize(latex))


def _same(gold: list[object], candidate: list[object]) -> bool:
    equal: bool = verify(
        gold,
        candidate,
        float_rounding=_ROUNDING,
        numeric_precision=_PRECISION,
        timeout_seconds=None,
        raise_on_error=True,
    )
    return equal


def _parse(latex: str) -> list[object]:
    expressions: list[object] = parse(
        f"${latex}$",
        [LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
        raise_on_error=True,
    )
    return expressions


def _plain(text: str) -> str:
    text = _FUNCTION.sub(r"\\\1 ", _ROOT.sub(r"\\sqrt{\1\2}", text))
    if not text.isascii():
        text = "".join(_SYMBOLS.get(c) or _greek(c) for c in text)
    return _WRAPPERS.sub("", text).strip().rstrip(".,;:").strip()


def _greek(character: str) -> str:
    """Return a Greek letter as its LaTeX command, any other character unchanged."""
    name = unicodedata.name(character, "")
    kind, _, letter = name.replace("LAMDA", "LAMBDA").rpartition(" LETTER ")
    if kind not in ("GREEK SMALL", "GREEK CAPITAL") or not letter.isalpha():
        return character
    return f"\\{letter.lower() if kind == 'GREEK SMALL' else letter.capitalize()} "


def _comparable(gold: str, candidate: str) -> bool:
    """Return whether both sides agree in what the library ignores."""
    if any((sign in gold) != (sign in candidate) for sign in "%!"):
        return False
    if _words(candidate) != _words(gold):
        return False
    if not _letters(candidate) <= _letters(gold) | {"e", "i"}:
        return False
    if bool(_DEGREES.search(gold)) != bool(_DEGREES.search(candidate)):
        return False
    return plain_number(gold) is None or _is_worked_out(candidate)


def _is_worked_out(candidate: str) -> bool:
    """Return whether the text is one number: 3 + 4 and 14/2 equal 7, but are left to work out."""
    value = plain_number(candidate)
    if value is not None:
        return value.denominator > 1 or not _DIVISION.search(candidate)
    return not _WORK.search(_SCIENTIFIC.sub("", candidate))


def _words(latex: str) -> set[str]:
    text = _COMMAND.sub(" ", _TEXT_COMMAND.sub(r" \1 ", latex)).casefold()
    return set(_WORD.findall(text)) - _FUNCTIONS


def _letters(latex: str) -> set[str]:
    words = _WORD.sub(" ", _COMMAND.sub(" ", latex))
    return set(_LETTER.findall(words))
