r"""Whether two mathematical answers are equal, by the library math-verify.

Both sides are read as LaTeX as a whole: the library by itself would take the last number of
``the answer is not 5``. What it drops on reading (units, words, percent signs) is compared before.
"""

from __future__ import annotations

import re

from math_verify import LatexExtractionConfig, parse, verify

from training.judges.numbers import number

_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WRAPPERS = re.compile(r"\\[()\[\]]|\$|\\left|\\right|\\[,;!]")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LETTER = re.compile(r"[^\W\d_]")
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "sec", "csc", "cot", "log", "ln", "exp", "sqrt", "pi", "or", "and"]
)
_NAMED = re.compile(r"^\s*[a-zA-Z](?:\s*\(\s*[a-z]\s*\))?\s*=(?!=)")
_SCIENTIFIC = re.compile(r"(?:\\times|\\cdot|×|\*)\s*10\s*\^")
_WORK = re.compile(r"[+*!×]|\\times|\\cdot|(?<=[\w)}])\s*-")


def compare(right: list[str], answer: str) -> tuple[bool, str]:
    """Whether ``answer`` equals one of ``right``, and how it was understood.

    Raises whatever the library does on text that it cannot take.
    """
    understood = ""
    for each in right:
        gold, candidate = _plain(each), _plain(answer)
        if not _NAMED.match(gold):
            candidate = _NAMED.sub("", candidate)
        if not _comparable(gold, candidate):
            continue
        read = _parse(candidate)
        understood = str(read[0])[:1000] if read else ""
        if read and verify(_parse(gold), read, timeout_seconds=None, raise_on_error=True):
            return True, understood
    return False, understood


def _parse(latex: str) -> list[object]:
    found: list[object] = parse(
        f"${latex}$",
        [LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
        raise_on_error=True,
    )
    return found


def _plain(text: str) -> str:
    return _WRAPPERS.sub("", text).strip().rstrip(".,;:").strip()


def _comparable(gold: str, candidate: str) -> bool:
    """Whether what the library does not look at is the same on both sides."""
    if ("%" in gold) != ("%" in candidate):
        return False
    if _words(candidate) != _words(gold):
        return False
    if not _letters(candidate) <= _letters(gold) | {"e", "i"}:
        return False
    # 3 + 4 equals 7, but whoever is asked for it must work it out.
    worked_out = not _WORK.search(_SCIENTIFIC.sub("", candidate))
    return worked_out or number(gold.casefold()) is None


def _words(latex: str) -> set[str]:
    text = _COMMAND.sub(" ", _TEXT_COMMAND.sub(r" \1 ", latex)).casefold()
    return set(_WORD.findall(text)) - _FUNCTIONS


def _letters(latex: str) -> set[str]:
    words = _WORD.sub(" ", _COMMAND.sub(" ", latex))
    return set(_LETTER.findall(words))
