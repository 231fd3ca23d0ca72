r"""Finding the answer that a text marks as its answer.

Four markers are known: a line that starts with ``Answer:``, ``\boxed{…}``, ``####`` (the style of
GSM8K, arXiv:2110.14168) and "the answer is". Behind one of them, whatever names an answer marks a
further one ("My final answer = 6"), and so does a correction behind the last: who answers twice has
to say the same twice.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.judges.corrections import correction
from training.judges.markers import LINE, Span, further_spans, spans

_LONGEST_HEAD = 300
_HEAD = re.compile(
    r"(?P<answer>.*?\S)[.,;:!?]\s+"
    r"(?:(?:so|thus|hence|therefore|and|then|that is|which means)\b\W*)*\Z",
    re.DOTALL | re.IGNORECASE,
)
_HEAD_OF_FURTHER = re.compile(r"(?P<answer>.*\S)[.,;:!?]\s[^.,;:!?]*\Z", re.DOTALL)
_NUMBER_FIRST = re.compile(r"[\s$€£(*_`+-]*\d")


@dataclass(frozen=True)
class Found:
    """An answer as written."""

    text: str
    evidence: str
    """Where it was found, for people."""
    marked: bool = True
    """False for a text that marks no answer and is taken as a whole."""


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
    for expected answers that have several lines; such prose may speak of answers and mistakes, so
    that only the four markers count. Answers that end before the position ``after`` are left out.
    """
    known = [span for span in spans(text) if not after or span.end > after]
    if whole_lines:
        known += further_spans(text, known)
    # Of two markers that start together ("#### Answer: 5") the longer one counts.
    found = {span.marker: span for span in sorted(known, key=lambda s: (s.marker, s.start))}
    ordered, markers = list(found.values()), list(found)
    if not whole_lines:
        ordered = [_extended(span, markers, text) for span in ordered]
    kept = [
        each for span in ordered if (each := _own_part(span, ordered, markers, text, whole_lines))
    ]
    answers = [Found(text[span.start : span.end].strip(), span.evidence) for span in kept]
    if whole_lines and kept:
        taken_back = correction(answers[-1].text, text, max(span.end for span in kept))
        if taken_back:
            answers.append(Found(text[slice(*taken_back)].strip(), "a correction"))
    return answers


def _own_part(
    span: Span, ordered: Sequence[Span], markers: list[int], text: str, heads: bool
) -> Span | None:
    """What a marker marks where no other one stands within it, and else what it says before that.

    "Answer: 5, so the answer is 6" gives two answers, "Answer: so, the answer is 6" gives one.
    Without ``heads`` the inner marker counts alone.
    """
    index = bisect.bisect_left(markers, span.start)
    if index >= len(markers) or markers[index] >= span.end:
        return span
    head = text[span.start : markers[index]]
    further = ordered[index].further
    if not heads or len(head) > _LONGEST_HEAD or not (further or _NUMBER_FIRST.match(head)):
        return None
    match = (_HEAD_OF_FURTHER if further else _HEAD).match(head)
    return replace(span, end=span.start + match.end("answer")) if match else None


def _extended(span: Span, markers: list[int], text: str) -> Span:
    if span.evidence != LINE:
        return span
    index = bisect.bisect_left(markers, span.start)
    return replace(span, end=markers[index] if index < len(markers) else len(text))
