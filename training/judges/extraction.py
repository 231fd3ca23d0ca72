r"""Finding the answer that a text marks as its answer.

Four markers are known: a line that starts with ``Answer:``, ``\boxed{…}``, ``####`` (the style of
GSM8K, arXiv:2110.14168) and "the answer is".
"""

from __future__ import annotations

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
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


@dataclass(frozen=True)
class _Span:
    """A marked answer: where the marker starts, and where its text starts and ends."""

    marker: int
    start: int
    end: int


def marked_answers(text: str, *, whole_lines: bool = True) -> list[str]:
    r"""What each marker in ``text`` marks, in order, as written.

    A marker inside of what another one marks (``Answer: \boxed{5}``) counts in its place. With
    ``whole_lines`` off, an ``Answer:`` extends over the following lines up to the next marker,
    for expected answers that have several lines.
    """
    spans = sorted(_spans(text), key=lambda span: span.marker)
    if not whole_lines:
        spans = [_extended(span, spans, text) for span in spans]
    innermost = [
        span
        for span in spans
        if not any(span.start <= other.marker < span.end for other in spans if other is not span)
    ]
    return [text[span.start : span.end].strip() for span in innermost]


def _spans(text: str) -> Iterator[_Span]:
    for match in _LINE.finditer(text):
        # A marker alone on its line marks the next line that is not blank.
        blank = _BLANK_LINES.match(text, match.end())
        start = blank.end() if blank else match.end()
        yield _Span(match.start(), start, _line_end(text, start))
    for match in _HASHES.finditer(text):
        yield _Span(match.start(), match.end(), _line_end(text, match.end()))
    for match in _SENTENCE.finditer(text):
        stop = _SENTENCE_END.search(text, match.end())
        yield _Span(match.start(), match.end(), stop.start() if stop else len(text))
    for match in _BOXED.finditer(text):
        brace = _closing_brace(text, match.end())
        if brace is not None:
            yield _Span(match.start(), match.end(), brace)


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return None


def _extended(span: _Span, spans: list[_Span], text: str) -> _Span:
    if not _LINE.match(text, span.marker):
        return span
    later = [other.marker for other in spans if other.marker > span.marker]
    return _Span(span.marker, span.start, min(later, default=len(text)))
