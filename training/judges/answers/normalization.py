r"""Normal forms of text: Unicode, LaTeX, markup, case, space and punctuation unified."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_FULL_WIDTH = 0xFEE0


def _forms() -> dict[int, str | None]:
    """Return replacements of characters that stand for others, for answers and markers alike."""
    forms: dict[int, str | None] = {}
    for code in (*range(0x80, 0x3001), 0xFEFF):
        category = unicodedata.category(chr(code))
        if category in ("Zs", "Zl", "Zp", "Cf"):
            forms[code] = {"Zs": " ", "Cf": None}.get(category, "\n")
    forms |= dict.fromkeys(range(0xFE00, 0xFE10))
    forms |= {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}
    forms |= {code + _FULL_WIDTH: chr(code) for code in range(0x21, 0x7F)}
    forms_of = {
        "-": "−–‐‑﹣",
        " - ": "—―",
        "/": "⁄∕",
        "'": "‘’‛´ʼ",
        '"': "“”„‟«»「」『』《》〈〉",
        "\n": "\x85",
    }
    forms_of |= {
        "%": "٪",
        ".": "٫｡।",
        ",": "٬、､،",
        ":": "∶﹕꞉",
        "?": "؟",
        ". ": "。",
        "°": "º",
        "μ": "µ",
        "Ω": "Ω",
    }
    return forms | {ord(form): plain for plain, all_forms in forms_of.items() for form in all_forms}


_FORMS = _forms()
LINE_END = re.compile("\r\n?|[\v\f\x1c-\x1e]")
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋ₙᵢ"
_RAISED = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789+-ni" * 2)
_SCRIPTS = re.compile(f"([{_SUPERSCRIPTS}]+)|([{_SUBSCRIPTS}]+)")
_VULGAR = re.compile(r"(\d?)([¼½¾⅐-⅞])")

_MATH = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\{(?:align|equation|gather|multline|math|center)[a-z*]*\}"
)
_FRACTION = re.compile(r"(\d?)\s*\\[dt]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|boxed|fbox|mbox)\s*\{([^{}]*)\}"
)
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
    r"\{": "{",
    r"\}": "}",
    r"\_": "_",
    r"\#": "#",
    r"\&": "&",
    **dict.fromkeys((r"\,", r"\;", r"\:", r"\ ", r"\quad", r"\\"), " "),
    **dict.fromkeys(
        (
            r"\left",
            r"\right",
            r"\displaystyle",
            r"\!",
            r"\square",
            r"\blacksquare",
            r"\(",
            r"\)",
            r"\[",
            r"\]",
        ),
        "",
    ),
}
_COMMAND = re.compile(
    "|".join(
        re.escape(command) + (r"(?![a-zA-Z])" if command[-1].isalpha() else "")
        for command in sorted(_COMMANDS, key=len, reverse=True)
    )
)
_FENCE = re.compile(r"\A\s*(```|~~~)[\w+-]*[ \t]*\n(.*?)\n?[ \t]*\1\s*\Z", re.DOTALL)
_PAIRS = ("**", "__", "`")
_WRAPPED = re.compile(r"(\*\*|__|`|\*|_)(?=\S)(.*\S)\1", re.DOTALL)
_BOLD = re.compile(r"(?<!\S)\*\*(?=\S)([^*]*\S)\*\*(?=[\s.,;:!?]|\Z)")
FACTORIAL = re.compile(r"(?:[\d)]|\b[^\W\d_]|\A|\s)!")
_PRIME = re.compile(r"\A[^\W\d_]'+(?!\w)")

LONGEST = 5000
"""Length in characters above which a text keeps its markup."""

_MARKUP = "\"'*_` "
_TRAILING = ".,;:!"


def clean(text: str) -> str:
    """Return ``text`` with one form of each space, line end, quote, dash and full-width character.

    Invisible characters are dropped. Markers, answers and expected answers are all read from
    cleaned text.
    """
    if not text.isascii():
        text = text.translate(_FORMS)
    return LINE_END.sub("\n", text)


@lru_cache(maxsize=512)
def plain(text: str, keep: str = "") -> str:
    """Return ``text`` in one notation: ASCII digits, no LaTeX, no markup, single spaces.

    Raised and lowered digits become ``^2`` and ``_2``, because compatibility forms would merge them
    with the digits before. Recent texts are cached: judging one answer reads its item's prompt and
    expected answers several times.

    Args:
        text: Any text.
        keep: Markup symbols to keep; see :func:`symbols`.
    """
    text = clean(text)
    fence = _FENCE.match(text)
    if fence:
        text = fence[2]
    if not text.isascii():
        text = _plain_unicode(text)
    if "\\" in text or "$" in text or "{" in text:
        text = _plain_latex(text)
    text = _unwrapped(text.strip().replace("&=", "="))
    for pair in _PAIRS:
        if pair in text and pair[0] not in keep and text.count(pair) % 2 == 0:
            text = text.replace(pair, "")
    return " ".join(text.split())


def normalize(text: str, keep: str = "") -> str:
    """Return :func:`plain` text without case, surrounding quotes, emoji and trailing punctuation.

    Text that consists of these alone keeps them. For texts longer than :data:`LONGEST` only case
    and space are unified, in linear time.
    """
    text = (len(text) <= LONGEST and plain(text, keep)) or " ".join(clean(text).split())
    text = text.casefold()
    return trimmed(text, _MARKUP, _MARKUP + _TRAILING, keep) or text


def trimmed(text: str, left: str, right: str, keep: str = "") -> str:
    """Return the text without the given characters and pictograms at its ends."""
    if keep:
        left, right = ("".join(c for c in side if c not in keep) for side in (left, right))
    text = text.lstrip(left).rstrip(right)
    while text and (_is_pictogram(text[0]) or _is_pictogram(text[-1])):
        text = text[_is_pictogram(text[0]) :]
        text = text[: len(text) - _is_pictogram(text[-1:])].lstrip(left).rstrip(right)
    return text


def symbols(expected: str) -> str:
    """Return the symbols that are part of an expected answer, though markup elsewhere.

    ``5!``, ``__init__``, ``*args`` and ``<b>`` mean something else without them.
    """
    text = _BOLD.sub(r"\1", _unwrapped(clean(expected).strip()))
    meant = [symbol for symbol in "*_`<" if symbol in text]
    meant += ["!"] if FACTORIAL.search(text) else []
    return "".join([*meant, "'"] if _PRIME.search(text) else meant)


def bare(text: str, further: str = "") -> str:
    """Return normalized text without enclosing brackets, of which ``further`` adds kinds."""
    while len(text) > 2 and text[0] + text[-1] in ("()", "[]", *_pairs(further)):
        if not _closes_last(text, text[0], text[-1]):
            break
        text = text[1:-1].strip()
    return text


def _unwrapped(text: str) -> str:
    """Return the text without enclosing markup; ``__init__`` is a name."""
    while wrapped := _WRAPPED.fullmatch(text):
        mark, inner = wrapped.groups()
        if mark in inner or (mark[0] == "_" and inner.isidentifier()):
            break
        text = inner
    return text


def _is_pictogram(character: str) -> bool:
    return (
        not character.isascii()
        and character not in "°❌✗✘🚫"
        and unicodedata.category(character) == "So"
    )


def _plain_unicode(text: str) -> str:
    text = _SCRIPTS.sub(_lowered, text)
    text = _VULGAR.sub(_spelled_fraction, text)
    text = unicodedata.normalize("NFKC", text).translate(_FORMS)
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
    if _ENVIRONMENT.search(text):
        text = _ENVIRONMENT.sub("", text).replace("&", "")
    text = _THIN_COMMANDS.sub(",", text)
    text = _FRACTION.sub(_written_fraction, text)
    text = _WRAPPER.sub(r"\1", text)
    text = _DEGREES.sub("°", text)
    text = _COMMAND.sub(lambda match: _COMMANDS[match[0]], text)
    return _GROUP.sub(r"\1\2", text)


def _written_fraction(match: re.Match[str]) -> str:
    above, below = ((match[i] or match[i + 1] or "").strip() for i in (2, 4))
    sign = "-" * (above.startswith("-") != below.startswith("-"))
    numbers = above.lstrip("-"), below.lstrip("-")
    if all(part.isalnum() for part in numbers):
        fraction = f"{sign}{numbers[0]}/{numbers[1]}"
    else:
        fraction = f"({above})/({below})"
    return f"{match[1]} {fraction}" if match[1] else fraction


def _pairs(brackets: str) -> Iterator[str]:
    return (brackets[i : i + 2] for i in range(0, len(brackets), 2))


def _closes_last(text: str, opening: str, closing: str) -> bool:
    """Return whether the last character closes the first bracket."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == opening) - (character == closing)
        if depth == 0:
            return place == len(text) - 1
    return False
