r"""Finding the answers that a text marks, and what takes them back.

Answers that a text gives must agree: behind a marker, whatever names an answer gives a further one
("My final answer = 6"), and so does a correction behind the last. The markers are in
:mod:`training.judges.answers.markers`.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tailrace.formats.data.eval_item import EvalItem
from training.judges.answers.markers import (
    FURTHER_NUMBER,
    INVERSE,
    LINE,
    Span,
    further_spans,
    spans,
)
from training.judges.answers.normalization import clean

_LONGEST_SPACE = 20
_SPACES = re.compile(rf"[ \t]{{{_LONGEST_SPACE},}}")
_BLANK_LINES = re.compile(r"\n(?:[ \t]{0,20}\n){3,}")
_LONGEST_HEAD = 300
_LONGEST_PARAGRAPH = 3000
_LONGEST_CORRECTION = 300
_HEAD = re.compile(
    r"(?P<answer>.*?\S)[.,;:!?]\s+"
    r"(?:(?:so|thus|hence|therefore|and|then|that is|which means)\b\W*)*\Z",
    re.DOTALL | re.IGNORECASE,
)
_HEAD_OF_FURTHER = re.compile(r"(?P<answer>.*\S)[.,;:!?]\s[^.,;:!?]*\Z", re.DOTALL)
_NUMBER_FIRST = re.compile(r"[\s$€£(*_`+-]*\d")
_TAIL = re.compile(r"(?:^|\n)(?:[ \t>*_#`-]*(?:final[ \t]+)?answer[ \t]*:\s*)\Z", re.IGNORECASE)

_QUOTED = r"[\s*_>(\"'-]{0,30}"
_STOP = r"\s*[,.!:;…-]"
_TAKES_BACK = (
    r"actually\b|corrections?\b|corrected\b|oops\b|err\b|"
    r"(?:scratch|strike|ignore|disregard) that\b|on (?:second thoughts?|reflection)\b|"
    rf"my (?:mistake|bad|apologies)\b|(?:sorry|apologies){_STOP}|make (?:it|that) \d|rather[,:]|"
    r"i (?:(?:was|am) (?:wrong|mistaken)|meant|take (?:it|that) back|apologi[sz]e)\b|"
    r"(?:edit(?:ed)?|updated?|erratum|fixed)\s*(?::|-\s)|"
    r"i made an? (?:\w+ )?(?:mistake|error)\b|"
    r"let me (?:correct|redo|reconsider|recalculate|recompute)\b|"
    r"(?:that|this|it)(?:'s| is| was| looks| seems| sounds)"
    r" (?:wrong|incorrect|mistaken|off|not (?:right|correct))\b|(?:that|this|it|something) "
    r"(?:does(?:n't| not)|did(?:n't| not)|can(?:'t|not)) (?:look|seem|sound|feel|be|add)\b|"
    r"不对|不對|错了|更正|抱歉|nein\b"
)
_CORRECTION = re.compile(
    rf"(?:^|[.!?;\n]| -){_QUOTED}(?P<said>(?:(?:oh|hmm+|but|no)\b[\s,.!…-]+)*"
    rf"(?:wait\b(?!\s+(?:for|until|time))|hmm+\b|hold on\b|等等|等一下|{_TAKES_BACK}))",
    re.IGNORECASE,
)
# Of two answers the later one stands where the text says that the other is wrong.
_REPLACED = re.compile(
    rf"(?:^|[.!?;\n]| -|,(?=\s+but\b)){_QUOTED}"
    r"(?:(?:oh|hmm+|but|no|wait|hold on|sorry|oops|等等|等一下)\b[\s,.!…-]+)*"
    rf"(?:no{_STOP}|{_TAKES_BACK})",
    re.IGNORECASE,
)
# Not behind a question: whoever asks "Is it even?" may say no.
_NO = re.compile(rf"(?:^|[.!;\n]| -){_QUOTED}(?P<said>no(?:{_STOP}|\s+wait\b))", re.IGNORECASE)
_WITHIN = re.compile(
    r",\s*(?P<said>no,?\s+wait\b|wait,?\s+no\b|no,\s+(?:it|that|i)\b)|"
    r"[,.\n]\s{0,20}(?P<or>or\s+(?:maybe|perhaps|possibly|rather)\b)",
    re.IGNORECASE,
)
_SAYS_NO = re.compile(r"\W*no\b", re.IGNORECASE)
_TAGS = re.compile(
    r"<(?P<end>/?)(?P<name>p|div|span|b|i|u|em|strong|h[1-6]|center|font|mark|code|pre|ul|ol|li|br|"
    r"small|big|sup|sub)(?:\s[^<>\n]{0,200})?\s?/?>",
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"<\|[\w▁ ]{1,40}\|>|<eos>|<end_of_turn>|\[/INST\]")
_LATEX_MARKER = re.compile(
    r"\\(?:text(?:bf|it|rm)?|mathbf|mathrm|emph|underline)\s?"
    r"\{([^{}\n]{0,40}\banswer\b[^{}\n]{0,80})\}",
    re.IGNORECASE,
)
_CHOOSING = (
    *("I choose", "I pick", "I select", "I would choose", "I'd choose", "I would go with"),
    *("I'd go with", "I'll go with", "my choice is", "choice:", "option:"),
)
_BREAKS = {"p", "div", "li", "br", "pre", "ul", "ol", *(f"h{i}" for i in range(1, 7))}


@dataclass(frozen=True)
class ExtractedAnswer:
    """An answer as written."""

    text: str
    evidence: str
    """Where it was found, for people."""
    marked: bool = True
    """False for a text that marks no answer and is taken as a whole."""
    paragraph: str = ""
    """The text up to the next blank line or marker, where lines follow: it may be a list."""


@dataclass(frozen=True)
class ExtractionRules:
    """The ways in which answers are found that depend on what is asked."""

    prompt: str = ""
    """What a text that begins with the prompt repeats of it marks nothing."""
    markers: Sequence[str] = ()
    """Further markers of the item or the judge."""
    right: Sequence[str] = ()
    """Right answers: behind ``Answer:`` and at the end of a text, one is found word for word."""
    whole_lines: bool = True
    """Off, an ``Answer:`` extends over the following lines up to the next marker, for right answers
    of several lines; such prose may speak of answers and mistakes, so that only the best markers
    count and nothing takes an answer back."""
    choices: bool = False
    """Whether there are options to choose; "I choose B" is an answer where nothing else is."""
    last: bool = False
    """Whether the last answer counts alone; otherwise all of them do."""


def extraction_rules(
    item: EvalItem, right: Sequence[str], markers: Sequence[str], *, whole_lines: bool = True
) -> ExtractionRules:
    """Return how the answers of an item are found.

    Args:
        item: What was asked.
        right: Its :func:`right_answers`.
        markers: Those of the judge.
        whole_lines: Whether right answers of one line are found on one.
    """
    one_line = whole_lines and not any("\n" in gold_answer(answer) for answer in right)
    own = [marker for each in item.markers or markers if (marker := clean(each).strip())]
    return ExtractionRules(
        item.prompt, own, right, one_line, choices=bool(item.choices), last=item.last_marker
    )


def right_answers(item: EvalItem) -> list[str]:
    """Return the right answers of an item: what they mark as their answer, and as written."""
    written = [
        _collapsed(clean(each)).strip() for each in (item.expected_answer, *item.accepted_answers)
    ]
    return list(dict.fromkeys([*map(gold_answer, written), *written]))


@lru_cache(maxsize=4096)
def gold_answer(expected: str) -> str:
    """Return what an expected answer marks as its answer (``#### 4``), or all of it."""
    found = marked_answers(expected)
    plain = len(found) == 1 and found[0].text and "denied" not in found[0].evidence
    return found[0].text if plain else expected


def answers_in(text: str, prompt: str = "", *, whole_lines: bool = True) -> list[ExtractedAnswer]:
    """Return :func:`find_answers` of a text about which nothing else is known."""
    return find_answers(text, ExtractionRules(prompt, whole_lines=whole_lines))


def find_answers(text: str, reading: ExtractionRules) -> list[ExtractedAnswer]:
    """Return the marked answers of ``text``, or all of it as one answer where none is marked."""
    text = _collapsed(clean(text))
    if ("<" in text or "[" in text) and not any("<" in answer for answer in reading.right):
        text = _without_tags(text)
    if "\\" in text and not any("nswer" in answer for answer in reading.right):
        text = _LATEX_MARKER.sub(r"\1", text)
    echo = clean(reading.prompt).strip()
    begin = len(text) - len(text.lstrip())
    heard = begin + len(echo) if echo and text.startswith(echo, begin) else 0
    found = list(_found(text, reading, _word_for_word(text, reading.right), heard))
    if not found and reading.choices:
        found = list(_found(text, replace(reading, markers=_CHOOSING), None, heard))
    if not found:
        return [ExtractedAnswer(text.strip(), "the whole text", marked=False)]
    return found


def marked_answers(text: str, *, whole_lines: bool = True) -> list[ExtractedAnswer]:
    r"""Return what each marker in ``text`` marks, in order, as written.

    A marker inside of what another one marks (``Answer: \boxed{5}``) counts in its place.
    """
    return list(_found(_collapsed(clean(text)), ExtractionRules(whole_lines=whole_lines), None, 0))


def _found(
    text: str, reading: ExtractionRules, tail: Span | None, heard: int
) -> Iterator[ExtractedAnswer]:
    known = _known(text, reading, tail, heard)
    ordered, markers = list(known.values()), list(known)
    if not reading.whole_lines:
        ordered = [_extended(span, markers, text) for span in ordered]
    kept = [
        part
        for span in ordered
        if (part := span if span is tail else _own_part(span, ordered, markers, text, reading))
    ]
    if reading.last:
        kept = kept[-1:]
    elif reading.whole_lines:
        kept = _standing(kept, text)
    for span in kept:
        content = text[span.start : span.end].strip()
        yield ExtractedAnswer(content, span.evidence, paragraph=_paragraph(text, span, markers))
    if kept and reading.whole_lines:
        last = kept[-1]
        answer = text[last.start : last.end].strip()
        taken_back = correction(answer, text, max(span.end for span in kept))
        if taken_back:
            yield ExtractedAnswer(text[slice(*taken_back)].strip(), "a correction")


def _known(text: str, reading: ExtractionRules, tail: Span | None, heard: int) -> dict[int, Span]:
    """The spans that count, by the place of their marker."""
    limit = tail.marker if tail else len(text) + 1
    known = [
        replace(span, end=min(span.end, limit)) if tail else span
        for span in spans(text, reading.markers)
        if span.end > heard - (not heard) and span.marker < limit and span.start < limit
    ]
    known += [tail] if tail else []
    first = min((span.start for span in known if span.strong), default=None)
    if reading.whole_lines:
        known += [
            span
            for span in further_spans(text, first or heard)
            if span.end <= limit and (first is not None or span.evidence == INVERSE)
        ]
    if first is not None or not reading.whole_lines:
        # "My answer: 6" takes back an answer before it; a better marker behind it stands for it.
        known = [s for s in known if s.strong or (reading.whole_lines and s.start >= (first or 0))]
    if not all(span.about for span in known):
        known = [span for span in known if not span.about]
    # Of two markers that start together the longer one counts.
    return {span.marker: span for span in sorted(known, key=lambda s: (s.marker, s.start))}


def _own_part(
    span: Span, ordered: Sequence[Span], markers: list[int], text: str, reading: ExtractionRules
) -> Span | None:
    """What a marker marks where no other one stands within it, and else what it says before that.

    "Answer: 5, so the answer is 6" gives two answers, "Answer: so, the answer is 6" gives one.
    """
    index = bisect.bisect_left(markers, span.start)
    if index >= len(markers) or markers[index] >= span.end:
        return span
    head = text[span.start : markers[index]]
    further = not ordered[index].strong
    if not reading.whole_lines or len(head) > _LONGEST_HEAD:
        return None
    if not further and not _NUMBER_FIRST.match(head):
        return None
    match = (_HEAD_OF_FURTHER if further else _HEAD).match(head)
    return replace(span, end=span.start + match.end("answer")) if match else None


def _standing(kept: list[Span], text: str) -> list[Span]:
    """The answers from the last one on before which the text takes back the others."""
    for index in range(len(kept) - 1, 0, -1):
        before, span = kept[index - 1], kept[index]
        if span.evidence != FURTHER_NUMBER and _REPLACED.search(text, before.start, span.start):
            return kept[index:]
    return kept


def _extended(span: Span, markers: list[int], text: str) -> Span:
    if span.evidence != LINE or (span.end < len(text) and text[span.end] != "\n"):
        return span
    index = bisect.bisect_left(markers, span.start)
    return replace(span, end=markers[index] if index < len(markers) else len(text))


def _paragraph(text: str, span: Span, markers: list[int]) -> str:
    if text[span.end : span.end + 1] != "\n":
        return ""
    index = bisect.bisect_left(markers, span.start)
    limit = markers[index] if index < len(markers) else len(text)
    lines = text[span.start : min(limit, span.start + _LONGEST_PARAGRAPH)]
    return lines.partition("\n\n")[0]


def _word_for_word(text: str, right: Sequence[str]) -> Span | None:
    """The right answer that ends the text behind ``Answer:``, whatever it speaks of."""
    end = len(text.rstrip())
    for answer in sorted(right, key=len, reverse=True):
        if answer and text.endswith(answer, 0, end):
            start = end - len(answer)
            marker = _TAIL.search(text, max(0, start - _LONGEST_HEAD), start)
            if marker:
                return Span(marker.start() + marker.group().startswith("\n"), start, end, LINE)
    return None


def _collapsed(text: str) -> str:
    """The text without longer runs of space, over which patterns would go again and again."""
    return _BLANK_LINES.sub("\n\n\n", _SPACES.sub(" " * _LONGEST_SPACE, text))


def _without_tags(text: str) -> str:
    """The text without special tokens and HTML; a tag that nothing closes may be an option."""
    text = _SPECIAL.sub("\n", text)
    for name in ("s", "answer"):
        if f"<{name}>" not in text:
            text = text.replace(f"</{name}>", "\n")
    closed = {tag["name"].lower() for tag in _TAGS.finditer(text) if tag["end"]} | {"br"}

    def plain(tag: re.Match[str]) -> str:
        name = tag["name"].lower()
        if name not in closed:
            return tag.group()
        raised = {"sup": "^", "sub": "_"}.get(name, "")
        return "\n" if name in _BREAKS else "" if tag["end"] else raised

    return _TAGS.sub(plain, text)


def correction(answer: str, text: str, start: int) -> tuple[int, int] | None:
    """Return where the text behind an answer, from ``start`` on, takes it back, or None.

    From the word that does ("no", "wait", "actually") to the end of its line. A "no" behind the
    answer "no" only repeats it.
    """
    patterns = [_CORRECTION, _WITHIN, *([] if _SAYS_NO.match(answer) else [_NO])]
    matches = [match for pattern in patterns if (match := pattern.search(text, start))]
    if not matches:
        return None
    begin = min(match.start(match.lastgroup or 0) for match in matches)
    limit = min(len(text), begin + _LONGEST_CORRECTION)
    line = text.find("\n", begin, limit)
    return begin, line if line >= 0 else limit
