r"""Finding the answer that a text marks as its answer.

Four markers are known: a line that starts with ``Answer:``, ``\boxed{…}``, ``####`` (the style of
GSM8K, arXiv:2110.14168) and "the answer is".
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass

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
_LINE_EVIDENCE = "line Answer:"
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


@dataclass(frozen=True)
class Found:
    """An answer as written."""

    text: str
    evidence: str
    """Where it was found, for people."""
    marked: bool = True
    """False for a text that marks no answer and is taken as a whole."""


@dataclass(frozen=True)
class _Span:
    """A marked answer: where the marker starts, and where its text starts and ends."""

    marker: int
    start: int
    end: int
    evidence: str


def answers_in(text: str, prompt: str = "", *, whole_lines: bool = True) -> list[Found]:
    """The marked answers of ``text``, or all of it as one answer where none is marked.

    What a text that begins with the prompt repeats of it marks nothing. ``whole_lines`` as in
    :func:`marked_answers`.
    """
    echo = prompt.strip()
    begin = len(text) - len(text.lstrip())
    heard = begin + len(echo) if echo and text.startswith(echo, begin) else 0
    found = marked_answers(text, whole_lines=whole_lines, after=heard)
    return found or [Found(text.strip(), "the whole text", marked=False)]


def marked_answers(text: str, *, whole_lines: bool = True, after: int = 0) -> list[Found]:
    r"""What each marker in ``text`` marks, in order, as written.

    A marker inside of what another one marks (``Answer: \boxed{5}``) counts in its place. With
    ``whole_lines`` off, an ``Answer:`` extends over the following lines up to the next marker,
    for expected answers that have several lines. Answers that end before the position ``after``
    are left out.
    """
    # Of two markers that start together ("#### Answer: 5") the longer one counts.
    found = {span.marker: span for span in sorted(_spans(text), key=lambda s: (s.marker, s.start))}
    spans, markers = list(found.values()), list(found)
    if not whole_lines:
        spans = [_extended(span, markers, text) for span in spans]
    innermost = [span for span in spans if _first_from(markers, span.start, len(text)) >= span.end]
    return [
        Found(text[span.start : span.end].strip(), span.evidence)
        for span in innermost
        if not after or span.end > after
    ]


def _spans(text: str) -> Iterator[_Span]:
    for match in _LINE.finditer(text):
        # A marker alone on its line marks the next line that is not blank.
        blank = _BLANK_LINES.match(text, match.end())
        start = blank.end() if blank else match.end()
        yield _Span(match.start(), start, _line_end(text, start), _LINE_EVIDENCE)
    for match in _HASHES.finditer(text):
        yield _Span(match.start(), match.end(), _line_end(text, match.end()), "line ####")
    for match in _SENTENCE.finditer(text):
        limit = min(len(text), match.end() + _LONGEST_SENTENCE)
        stop = _SENTENCE_END.search(text, match.end(), limit)
        before = _clause(text, match.start())
        if _SUPPOSED.search(before):
            continue
        end = stop.start() if stop else limit
        # A question mark belongs to what it doubts.
        end += text[end : end + 1] == "?"
        if _DENIED.search(before):
            begin = match.start() - len(before)
            yield _Span(begin - 1, begin, end, "the answer is, denied")
        else:
            yield _Span(match.start(), match.end(), end, "the answer is")
    closing = _matching_braces(text)
    for match in _BOXED.finditer(text):
        brace = closing.get(match.end() - 1)
        if brace is not None:
            yield _Span(match.start(), match.end(), brace, "\\boxed")


def _clause(text: str, end: int) -> str:
    """The text before ``end``, from the start of its sentence on, as far as it may matter."""
    near = text[max(0, end - _LONGEST_CLAUSE) : end]
    return re.split(r"[.!?;:\n]", near)[-1]


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


def _extended(span: _Span, markers: list[int], text: str) -> _Span:
    if span.evidence != _LINE_EVIDENCE:
        return span
    end = _first_from(markers, span.start, len(text))
    return _Span(span.marker, span.start, end, span.evidence)


def _first_from(markers: list[int], start: int, default: int) -> int:
    """The first of the sorted ``markers`` at or after ``start``."""
    index = bisect.bisect_left(markers, start)
    return markers[index] if index < len(markers) else default
