r"""Extraction of the answers that a text marks, and of corrections that take them back.

All answers of a text must agree. After a marker, anything that names an answer gives a further one
("My final answer = 6"), and so does a correction after the last answer. The markers themselves are
in :mod:`training.judges.answers.markers`.
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

WHOLE_TEXT = "the whole text"
"""Evidence for an answer that nothing marks."""

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
# The later of two answers counts if the text says that the earlier one is wrong.
_REPLACED = re.compile(
    rf"(?:^|[.!?;\n]| -|,(?=\s+but\b)){_QUOTED}"
    r"(?:(?:oh|hmm+|but|no|wait|hold on|sorry|oops|等等|等一下)\b[\s,.!…-]+)*"
    rf"(?:no{_STOP}|{_TAKES_BACK})",
    re.IGNORECASE,
)
# Not after a question: the answer to "Is it even?" may be no.
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
    """Place where the answer was found, for people."""
    marked: bool = True
    """False if the text marks no answer and counts as a whole."""
    paragraph: str = ""
    """Text up to the next blank line or marker if lines follow: the answer may be a list."""


@dataclass(frozen=True)
class ExtractionRules:
    """Rules for extracting answers that depend on the eval item and the judge."""

    prompt: str = ""
    """Prompt; a text that begins by repeating it marks nothing there."""
    markers: Sequence[str] = ()
    """Further markers of the item or the judge."""
    right: Sequence[str] = ()
    """Right answers; one that ends the text after ``Answer:`` is matched word for word."""
    whole_lines: bool = True
    """False for right answers of several lines: an ``Answer:`` then extends over further lines up
    to the next marker. Such prose may mention answers and mistakes, so only the best markers count
    and nothing takes an answer back."""
    choices: bool = False
    """True if there are options to choose from; "I choose B" is an answer if nothing else is."""
    last: bool = False
    """True if only the last answer counts, False if all must agree."""
    reads_markers: bool = True
    """False if the whole text is the answer, even if something in it looks like a marker."""


def extraction_rules(
    item: EvalItem, right: Sequence[str], markers: Sequence[str], *, whole_lines: bool = True
) -> ExtractionRules:
    """Return the rules for extracting answers to an eval item.

    Args:
        item: The eval item.
        right: Its :func:`right_answers`.
        markers: Markers of the judge, for items that have none.
        whole_lines: True to look for a right answer of one line on one line.
    """
    one_line = whole_lines and not any("\n" in gold_answer(answer) for answer in right)
    cleaned = (clean(marker).strip() for marker in item.markers or markers)
    own = [marker for marker in cleaned if marker]
    return ExtractionRules(
        item.question,
        own,
        right,
        one_line,
        choices=bool(item.choices),
        last=item.last_marker,
        reads_markers=reads_markers(item, markers),
    )


def reads_markers(eval_item: EvalItem, markers: Sequence[str]) -> bool:
    """Return True if answers to an item may be marked, by its key or by markers of the judge."""
    return eval_item.marked or bool(markers)


def right_answers(item: EvalItem, markers: Sequence[str]) -> list[str]:
    """Return the right answers of an item, both as marked within them and as written.

    ``markers`` are the judge's. The answers of an item without markers are only those written.
    """
    written = [_collapsed(clean(answer)).strip() for answer in item.answers]
    marked = map(gold_answer, written) if reads_markers(item, markers) else ()
    return list(dict.fromkeys([*marked, *written]))


@lru_cache(maxsize=4096)
def gold_answer(expected: str) -> str:
    """Return the answer that an expected answer marks (``#### 4``), or all of it."""
    answers = marked_answers(expected)
    is_plain = len(answers) == 1 and answers[0].text and "denied" not in answers[0].evidence
    return answers[0].text if is_plain else expected


def find_answers(text: str, rules: ExtractionRules) -> list[ExtractedAnswer]:
    """Return the marked answers of ``text``, or all of it as one answer if none is marked.

    Rules without markers always give all of it.
    """
    text = _collapsed(clean(text))
    if not rules.reads_markers:
        return [ExtractedAnswer(text.strip(), WHOLE_TEXT, marked=False)]
    if ("<" in text or "[" in text) and not any("<" in answer for answer in rules.right):
        text = _without_tags(text)
    if "\\" in text and not any("nswer" in answer for answer in rules.right):
        text = _LATEX_MARKER.sub(r"\1", text)
    echo = clean(rules.prompt).strip()
    begin = len(text) - len(text.lstrip())
    echo_end = begin + len(echo) if echo and text.startswith(echo, begin) else 0
    answers = list(_extract(text, rules, _word_for_word(text, rules.right), echo_end))
    if not answers and rules.choices:
        answers = list(_extract(text, replace(rules, markers=_CHOOSING), None, echo_end))
    if not answers:
        return [ExtractedAnswer(text.strip(), WHOLE_TEXT, marked=False)]
    return answers


def marked_answers(text: str, *, whole_lines: bool = True) -> list[ExtractedAnswer]:
    r"""Return the answers that the markers in ``text`` mark, in order, as written.

    A marker within another one's answer (``Answer: \boxed{5}``) replaces it.
    """
    return list(
        _extract(_collapsed(clean(text)), ExtractionRules(whole_lines=whole_lines), None, 0)
    )


def _extract(
    text: str, rules: ExtractionRules, tail: Span | None, echo_end: int
) -> Iterator[ExtractedAnswer]:
    by_marker = _spans_by_marker(text, rules, tail, echo_end)
    ordered, markers = list(by_marker.values()), list(by_marker)
    if not rules.whole_lines:
        ordered = [_extended(span, markers, text) for span in ordered]
    answers = [
        part
        for span in ordered
        if (part := span if span is tail else _own_part(span, ordered, markers, text, rules))
    ]
    if rules.last:
        answers = answers[-1:]
    elif rules.whole_lines:
        answers = _without_replaced(answers, text)
    for span in answers:
        content = text[span.start : span.end].strip()
        yield ExtractedAnswer(content, span.evidence, paragraph=_paragraph(text, span, markers))
    if answers and rules.whole_lines:
        last = answers[-1]
        answer = text[last.start : last.end].strip()
        taken_back = correction(answer, text, max(span.end for span in answers))
        if taken_back:
            yield ExtractedAnswer(text[slice(*taken_back)].strip(), "a correction")


def _spans_by_marker(
    text: str, rules: ExtractionRules, tail: Span | None, echo_end: int
) -> dict[int, Span]:
    """Return the spans that count, by the position of their marker."""
    limit = tail.marker if tail else len(text) + 1
    candidates = [
        replace(span, end=min(span.end, limit)) if tail else span
        for span in spans(text, rules.markers)
        if span.end > echo_end - (not echo_end) and span.marker < limit and span.start < limit
    ]
    candidates += [tail] if tail else []
    first = min((span.start for span in candidates if span.strong), default=None)
    if rules.whole_lines:
        candidates += [
            span
            for span in further_spans(text, first or echo_end)
            if span.end <= limit and (first is not None or span.evidence == INVERSE)
        ]
    if first is not None or not rules.whole_lines:
        # "My answer: 6" takes back an earlier answer, but a better marker after it replaces it.
        earliest = first or 0
        candidates = [
            span
            for span in candidates
            if span.strong or (rules.whole_lines and span.start >= earliest)
        ]
    if not all(span.about for span in candidates):
        candidates = [span for span in candidates if not span.about]
    # Of two markers that start at the same place, the longer one counts.
    return {span.marker: span for span in sorted(candidates, key=lambda s: (s.marker, s.start))}


def _own_part(
    span: Span, ordered: Sequence[Span], markers: list[int], text: str, rules: ExtractionRules
) -> Span | None:
    """Return the part of a marked span before the next marker; None if that is not an answer.

    "Answer: 5, so the answer is 6" gives two answers, "Answer: so, the answer is 6" gives one.
    """
    index = bisect.bisect_left(markers, span.start)
    if index >= len(markers) or markers[index] >= span.end:
        return span
    head = text[span.start : markers[index]]
    further = not ordered[index].strong
    if not rules.whole_lines or len(head) > _LONGEST_HEAD:
        return None
    if not further and not _NUMBER_FIRST.match(head):
        return None
    match = (_HEAD_OF_FURTHER if further else _HEAD).match(head)
    return replace(span, end=span.start + match.end("answer")) if match else None


def _without_replaced(answers: list[Span], text: str) -> list[Span]:
    """Return the answers without those that the text takes back before it gives another."""
    for index in range(len(answers) - 1, 0, -1):
        before, span = answers[index - 1], answers[index]
        if span.evidence != FURTHER_NUMBER and _REPLACED.search(text, before.start, span.start):
            return answers[index:]
    return answers


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
    """Return the right answer that ends the text after ``Answer:``, whatever it mentions."""
    end = len(text.rstrip())
    for answer in sorted(right, key=len, reverse=True):
        if answer and text.endswith(answer, 0, end):
            start = end - len(answer)
            marker = _TAIL.search(text, max(0, start - _LONGEST_HEAD), start)
            if marker:
                return Span(marker.start() + marker.group().startswith("\n"), start, end, LINE)
    return None


def _collapsed(text: str) -> str:
    """Return the text without long runs of space, which patterns would scan repeatedly."""
    return _BLANK_LINES.sub("\n\n\n", _SPACES.sub(" " * _LONGEST_SPACE, text))


def _without_tags(text: str) -> str:
    """Return the text without special tokens and HTML; an unclosed tag may be an option."""
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
    """Return the span of a correction of an answer in the text from ``start`` on, or None.

    It extends from its first word ("no", "wait", "actually") to the end of the line. A "no" after
    the answer "no" only repeats it.
    """
    patterns = [_CORRECTION, _WITHIN, *([] if _SAYS_NO.match(answer) else [_NO])]
    matches = [match for pattern in patterns if (match := pattern.search(text, start))]
    if not matches:
        return None
    begin = min(match.start(match.lastgroup or 0) for match in matches)
    limit = min(len(text), begin + _LONGEST_CORRECTION)
    line = text.find("\n", begin, limit)
    return begin, line if line >= 0 else limit
