r"""What does not matter in an answer: forms of Unicode, LaTeX, markup, case, space, punctuation."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–‐‑﹣－", "-"),
        **dict.fromkeys("⁄∕", "/"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
        "٪": "%",
        "٫": ".",
        "٬": ",",
        "º": "°",
        "µ": "μ",
        "Ω": "Ω",
    }
)
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋"
_RAISED = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789+-" * 2)
_SCRIPTS = re.compile(f"([{_SUPERSCRIPTS}]+)|([{_SUBSCRIPTS}]+)")
_VULGAR = re.compile(r"(\d?)([¼½¾⅐-⅞])")
_THIN_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")

_MATH = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")
_FRACTION = re.compile(r"(\d?)\s*\\[dt]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|boxed|mbox)\s*\{([^{}]*)\}")
_THIN_COMMANDS = re.compile(r"(?<=\d)(?:\\[,!;: ]|\{,\}|\\,)(?=\d{3}(?!\d))")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b|\\circ\b")
_GROUP = re.compile(r"([\^_])\{([^{}]*)\}")
_COMMANDS = {
    r"\times": "×",
    r"\cdot": "·",
    r"\div": "÷",
    r"\pm": "±",
    r"\approx": "≈",
    r"\pi": "π",
    r"\infty": "∞",
    r"\%": "%",
    r"\$": "$",
    r"\left": "",
    r"\right": "",
    r"\(": "",
    r"\)": "",
    r"\[": "",
    r"\]": "",
    r"\{": "{",
    r"\}": "}",
    r"\,": " ",
    r"\;": " ",
    r"\:": " ",
    r"\!": "",
    r"\ ": " ",
    r"\quad": " ",
}
_COMMAND = re.compile(
    "|".join(
        re.escape(command) + (r"(?![a-zA-Z])" if command[-1].isalpha() else "")
        for command in _COMMANDS
    )
)
_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)
_PAIRS = ("**", "__", "`")

LONGEST = 5000
"""Characters of a text from which on its markup is left alone."""

_QUOTES = "\"'“”‘’«» "
_TRAILING = ".,;:! "


@lru_cache(maxsize=256)
def plain(text: str) -> str:
    """``text`` in one way of writing: ASCII digits and signs, no LaTeX, no markup, single spaces.

    Raised and lowered digits become ``^2`` and ``_2``, which compatibility forms would merge with
    the digits before them. The last texts are remembered: judging one answer, its item's prompt
    and expected answers are read several times.
    """
    fence = _FENCE.match(text)
    if fence:
        text = fence[1]
    if not text.isascii():
        text = _plain_unicode(text)
    if "\\" in text or "$" in text or "{" in text:
        text = _plain_latex(text)
    for pair in _PAIRS:
        if pair in text and text.count(pair) % 2 == 0:
            text = text.replace(pair, "")
    return " ".join(text.split())


def normalize(text: str) -> str:
    """:func:`plain` text without case, surrounding quotes and trailing punctuation.

    These stay where nothing else is there. Of texts longer than :data:`LONGEST` only case and
    space are unified, which takes no longer than reading them.
    """
    text = plain(text) if len(text) <= LONGEST else " ".join(text.split())
    text = text.casefold()
    return text.lstrip(_QUOTES + "*_").rstrip(_QUOTES + _TRAILING + "*_") or text


def bare(text: str) -> str:
    """Normalized text without the brackets around all of it."""
    while len(text) > 2 and text[0] + text[-1] in ("()", "[]") and _closes_last(text):
        text = text[1:-1].strip()
    return text


def _plain_unicode(text: str) -> str:
    text = _THIN_GROUPS.sub(",", text.translate(_SIGNS))
    text = _SCRIPTS.sub(_lowered, text)
    text = _VULGAR.sub(_spelled_fraction, text)
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c, c)) if c.isdecimal() else c for c in text)


def _lowered(match: re.Match[str]) -> str:
    return ("^" if match[1] else "_") + match[0].translate(_RAISED)


def _spelled_fraction(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[2]).replace("⁄", "/")
    return f"{match[1]} {fraction}" if match[1] else fraction


def _plain_latex(text: str) -> str:
    text = _MATH.sub(r"\1", text)
    if "\\" not in text and "{" not in text:
        return text
    text = _THIN_COMMANDS.sub(",", text)
    text = _FRACTION.sub(_written_fraction, text)
    text = _WRAPPER.sub(r"\1", text)
    text = _DEGREES.sub("°", text)
    text = _COMMAND.sub(lambda match: _COMMANDS[match[0]], text)
    return _GROUP.sub(r"\1\2", text)


def _written_fraction(match: re.Match[str]) -> str:
    above, below = match[2] or match[3] or "", match[4] or match[5] or ""
    if not (above.strip().isalnum() and below.strip().isalnum()):
        above, below = f"({above})", f"({below})"
    fraction = f"{above.strip()}/{below.strip()}"
    return f"{match[1]} {fraction}" if match[1] else fraction


def _closes_last(text: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            return place == len(text) - 1
    return False
