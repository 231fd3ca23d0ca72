r"""The markers that say where a text gives its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_LINE = re.compile(
    r"^[ \t>*_#`-]*(?:final[ \t]+)?answer[ \t*_`]*:[ \t*_`]*", re.IGNORECASE | re.MULTILINE
)
_HASHES = re.compile(r"^[ \t]*#{4}[ \t]*", re.MULTILINE)
_SENTENCE = re.compile(
    r"\bthe[ \t]+(?:final[ \t]+|correct[ \t]+)?answer[ \t]+is\b[ \t]*:?[ \t]*", re.IGNORECASE
)
_BLANK_LINES = re.compile(r"(?:[ \t*_`]*\n)+")
_BOXED = re.compile(r"\\boxed[ \t]*\{")
_BRACE = re.compile(r"[{}]")
_LONGEST_SENTENCE = 1000
_LONGEST_CLAUSE = 100
_DENIED = re.compile(
    r"n['’]t\b|\b(?:not|never|cannot|doubt|false|wrong|incorrect|mistaken|nobody|none|neither|nor|"
    r"hardly|unlikely|no (?:one|way))\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(r"\b(?:if|whether|unless|suppose|assume|when|say)\b", re.IGNORECASE)
_FURTHER = re.compile(
    r"\banswers?(?:[ \t]+(?:to|of|for)\b[^.!?:=\n]{1,60}?)??[ \t*_`]*"
    r"(?:[:=]|\b(?:is|was|(?:would|will|should|must|has to|ought to) be|becomes|equals)\b"
    r"(?:[ \t]*:)?)[ \t*_`]*",
    re.IGNORECASE,
)
_ABOUT_ANSWER = re.compile(
    r"(?:(?:also|indeed|thus|therefore)[ \t]+)?(?:(?:correct|right|reasonable|plausible|verified|"
    r"confirmed|consistent|unique)\b|(?:in(?! fact)|given|based|expressed|above|below)\b[^\d]*$)",
    re.IGNORECASE,
)
LINE = "line Answer:"
"""The evidence of a line's marker."""

_CLAUSE_END = re.compile(r"[.!?;:\n]")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


@dataclass(frozen=True)
class Span:
    """A marked answer: where the marker starts, and where its text starts and ends."""

    marker: int
    start: int
    end: int
    evidence: str
    further: bool = False
    """Whether it is one only because another marker stands before it."""


def spans(text: str) -> Iterator[Span]:
    """What the markers mark, in no order; one may lie within another."""
    for match in _LINE.finditer(text):
        start = _next_line(text, match.end())
        yield Span(match.start(), start, _line_end(text, start), LINE)
    for match in _HASHES.finditer(text):
        yield Span(match.start(), match.end(), _line_end(text, match.end()), "line ####")
    for match in _SENTENCE.finditer(text):
        span = _sentence(text, match, "the answer is")
        if span is not None:
            yield span
    closing = _matching_braces(text)
    for match in _BOXED.finditer(text):
        brace = closing.get(match.end() - 1)
        if brace is not None:
            yield Span(match.start(), match.end(), brace, "\\boxed")


def further_spans(text: str, known: Sequence[Span]) -> Iterator[Span]:
    """What else is said to be the answer, behind the first of the ``known`` markers.

    "My final answer: 6" marks nothing by itself, but takes back an "Answer: 5" before it.
    """
    begin = min((span.start for span in known), default=len(text))
    heads = {place for span in known for place in range(span.marker, span.start)}
    for match in _FURTHER.finditer(text, begin):
        if match.start() in heads:
            continue
        span = _sentence(text, match, "a further answer")
        if span is not None and not _ABOUT_ANSWER.match(text[span.start : span.end]):
            yield replace(span, further=True)


def _sentence(text: str, match: re.Match[str], evidence: str) -> Span | None:
    """What a marker within a sentence marks; None where it only supposes."""
    start = match.end()
    if match.group().rstrip(" \t*_`").endswith((":", "=")):
        start = _next_line(text, start)
    limit = min(len(text), start + _LONGEST_SENTENCE)
    stop = _SENTENCE_END.search(text, start, limit)
    before = _clause(text, match.start())
    if _SUPPOSED.search(before):
        return None
    end = stop.start() if stop else limit
    # A question mark belongs to what it doubts.
    end += text[end : end + 1] == "?"
    if _DENIED.search(before):
        begin = match.start() - len(before)
        return Span(begin - 1, begin, end, f"{evidence}, denied")
    return Span(match.start(), start, end, evidence)


def _clause(text: str, end: int) -> str:
    """The text before ``end``, from the start of its sentence on, as far as it may matter."""
    near = text[max(0, end - _LONGEST_CLAUSE) : end]
    return _CLAUSE_END.split(near)[-1]


def _next_line(text: str, end: int) -> int:
    """Where what a marker marks begins: alone on its line, the next line that is not blank."""
    blank = _BLANK_LINES.match(text, end)
    return blank.end() if blank else end


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _matching_braces(text: str) -> dict[int, int]:
    """Position of the closing brace of each opening one that has one."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif opened:
            closing[opened.pop()] = match.start()
    return closing
