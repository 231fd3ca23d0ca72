r"""Markers, which show where a text gives its answer.

A marker is a noun (``answer``), a marker of the item or judge, ``####``, ``\boxed{`` or
``<answer>``. A relation (``:``, ``is``, ``=``) follows a noun, unless the noun is alone on its line
like a heading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from training.judges.answers.normalization import FACTORIAL

LINE = "line Answer:"
"""Evidence for a marked line."""

INVERSE = "is the answer"
"""Evidence for an answer that precedes its marker."""

FURTHER_NUMBER = "a further number"
"""Evidence for "It's 41." after an answer."""

_ADJECTIVES = r"(?:final|correct|right|best|actual|true|corrected|revised|new)"
# The word for an answer in other languages, of which nothing else is understood.
_FOREIGN = (
    r"\b(?:antwort(?:en)?|lösung|respuesta|réponse|risposta|resposta|antwoord|svar(?:et)?|vastaus|"
    r"válasz|răspuns|odpowiedź|odpověď|ответ|відповідь|cevap|yanıt|jawaban|đáp án|câu trả lời|"
    r"απάντηση)(?:[ \t]+(?:final[ea]?|corre[ct]t\w*)\b)?|答案|答え|正解|回答|解答|答|정답|답|"
    r"उत्तर|คำตอบ|الجواب|الإجابة|תשובה|پاسخ"
)
_MARK = "[ \\t*_`\"'\\])]*"
_RELATION = (
    r"(?:[-=]+>|[:=→⇒|】](?:[ \t]*:)?|--?(?=[ \t])|'s(?=[ \t]+[$€£]?-?\d)|"
    # "is not 41 but 42" and "isn't 41, it's 42" mean 42.
    r"(?<![^\W_])(?:is|are|was)(?:n't| not)[ \t]+[^,;.:!?\n]{1,40}?[ \t,;]+"
    r"(?:but(?:[ \t]+rather)?|rather|it's|it is)\b(?![ \t]+not\b)|"
    r"(?<![^\W_])(?:is|are|was|är|"
    r"ist|lautet|es|est|è|é|reads?|becomes|equals|"
    r"(?:would|will|should|must|can only|has to|have to|ought to) be|"
    r"(?:comes|works|turns)(?: out)?(?: to(?: be)?| as)|evaluates to|amounts to)\b"
    r"(?:[ \t]+(?:thus|therefore|then|hence|simply|just|indeed|exactly|clearly|actually|definitely|"
    r"certainly|equal to|given by|"
    r"as follows|the following|given below|below)\b)*[ \t]*:?|[是为為は은는][ \t]*:?)"
)
_NOUN = (
    rf"(?P<noun>(?<![^\W_])(?<!</)(?<!</final_)(?:answers?|ans)(?![^\W_])|"
    rf"\b{_ADJECTIVES}[ \t]+(?:option|choice|letter|result|solution|value|number|total|sum)\b|"
    rf"(?P<foreign>{_FOREIGN}))"
    r"(?:[ \t]*#?[ \t]?\d{1,3}(?![\w.,/%])|[ \t]*\([^()\n]{1,30}\))?"
    r"(?:[ \t]+(?:choice|option|letter)\b)?"
    r"(?:[ \t]+(?:to|of|for|that|we|i|you|here)\b(?:\"[^\"\n]{1,120}\"|[^.!?:=\n\"]){1,60}?)??"
    r"(?:,[ \t]+(?:therefore|then|thus|hence),)?"
    rf"{_MARK}(?:(?P<relation>{_RELATION})|(?P<given>(?<=[ \t])(?:of[ \t]+)?(?=[$€£]?-?\d))|"
    rf"(?:[^\w\n]|_){{0,20}}$)"
)
_BOXED = (
    r"\\*(?<![a-zA-Z])(?:boxed|fbox)[ \t]*(?P<brace>\{)|"
    r"\\(?:boxed|fbox)[ \t]+(?P<bare>[^\s{}$\\]+)"
)
_HASHES = (
    r"(?<!#)(?P<hashes>####)(?!#|[ \t]*(?:\d+[.)][ \t]|"
    r"(?:step|part|case|solution|explanation|reasoning|method|"
    r"approach|calculation|verification|analysis|conclusion|check|note|summary|given|problem|"
    r"question|understand|identify)\b))[ \t]*"
)
_TAG = r"(?P<tag><(?:final_)?answer>)"
_LEAD = re.compile(
    r"[\W_]{0,30}(?:(?:(?:step|part|question|problem|task|q)[ \t]*)?\d{1,3}[ \t]*[.):-][\W_]*)?"
    rf"(?:{_ADJECTIVES}[ \t]+)?",
    re.IGNORECASE,
)
_THE = re.compile(rf"\bthe[ \t]+(?:{_ADJECTIVES}[ \t]+){{0,2}}\Z", re.IGNORECASE)
_THE_ANSWER = re.compile(r"\b(?:an|my|our|final)[ \t]+(?:final[ \t]+)?\Z", re.IGNORECASE)
_IS = re.compile(r"(?:is|are)(?:\b|n't)", re.IGNORECASE)
_SO = r"(?:(?:so|thus|hence|therefore|then|now|and)\b,?[ \t]*)*"
_INVERSE = re.compile(
    rf"(?:^|[.!?:;\n,])[ \t*_]{{0,20}}{_SO}"
    r"(?P<said>(?!(?:this|that|it|which|what|here|there|where|below|above)\b)[^.!?:;\n,]{1,60}?)"
    r"[ \t]+(?:is|are|must be|would be|should be)[ \t]+(?:the|my|our)[ \t]+"
    rf"(?:{_ADJECTIVES}[ \t]+)?(?:answer|option|choice)\b(?![ \t]+(?:to (?:a|another|other)|of)\b)|"
    r"(?:^|[.!?:;\n,])[ \t]*(?P<right>(?:option|choice)[ \t]+\(?[a-z]\)?)[ \t]+is[ \t]+"
    r"(?:correct|right)\b|"
    # "It's 41." after an answer.
    rf"(?:^|[.!?;\n])[ \t]*{_SO}(?:it|that|this)(?:'s| is| equals| (?:would|should|must) be)[ \t]+"
    r"(?P<number>[$€£]?-?\d[\d,.]*)(?=[.!]?[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_STATES = re.compile(r" (?:is|are|be|equals) |'s ", re.IGNORECASE)
_DENIED = re.compile(
    r"n't\b|\b(?:not|never|cannot|doubt|false|wrong|incorrect|mistaken|nobody|none|neither|nor|"
    r"hardly|unlikely|no (?:one|way))\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|suppose|assume|when|say|perhaps|maybe|possibly)\b", re.IGNORECASE
)
_ABOUT_ANSWER = re.compile(
    r"(?:(?:also|indeed|thus|therefore)[ \t]+)?(?:(?:correct|right|reasonable|plausible|verified|"
    r"confirmed|consistent|unique)\b|(?:in(?! fact)|given|based|expressed|above|below)\b[^\d]*$)",
    re.IGNORECASE,
)
_BRACE = re.compile(r"[{}]")
_CLAUSE_END = re.compile(r"[.!?;:\n]")
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:St|Mr|Ms|Dr|Mt|Jr|Sr|No|vs))(?<!\b(?:Mrs|e\.g|i\.e))[.!?](?=\s|$)|\n"
)
_LONGEST_SENTENCE = 1000
_LONGEST_CLAUSE = 100
_MOST_LINES = 200

_BLANK = re.compile(r"(?:[ \t]|(?:\*\*?|__?|`)(?=\s)|\n(?:[ \t]*>)?)*")
_FENCE = re.compile(
    r"(```+|~~~+)(?:(?:[\w+.-]*(?:[ \t]+[\w-]+=[^\n`]*)?|\{[^{}\n`]*\})[ \t]*\n|"
    r"(?:[a-z]+(?=[ \t]))?)"
)
_DISPLAY = re.compile(r"\\\[|\$\$|\\begin\{(?P<name>[a-zA-Z]{1,20}\*?)\}")
_CLOSING = {"[": "]", "(": ")", "{": "}", '"': '"', "'": "'"}
_ENVIRONMENTS = re.compile(r"align|gather|eqn|split|multline")
_BULLET = re.compile(r"[ \t]*(?:[-*•●▪◦·+→]|(?P<number>\(?\d{1,3}[.)]))[ \t]+(?=\S)")


@dataclass(frozen=True)
class Span:
    """A marked answer, by the positions of its marker's start and its text's start and end."""

    marker: int
    start: int
    end: int
    evidence: str
    strong: bool = True
    """True if the span counts even when a better marker follows it."""
    about: bool = False
    """True if the text may be about the answer ("is correct") instead of giving it."""


def spans(text: str, markers: Sequence[str] = ()) -> Iterator[Span]:
    """Yield the marked spans of a clean text in order; one may be inside another."""
    reader = _Reader(text)
    for match in _pattern(tuple(markers)).finditer(text):
        span = reader.span(match)
        if span is not None:
            yield span


def further_spans(text: str, begin: int) -> Iterator[Span]:
    """Yield answers from ``begin`` on that no marker precedes, such as "41 is the answer"."""
    if not _STATES.search(text, begin):
        return
    for match in _INVERSE.finditer(text, begin):
        name = next(name for name in ("said", "right", "number") if match[name])
        before = _clause(text, match.start(name)) + match[name]
        if not _SUPPOSED.search(before):
            evidence = INVERSE if name != "number" else FURTHER_NUMBER
            evidence += ", denied" if _DENIED.search(before) else ""
            yield Span(match.start(name) - 1, *match.span(name), evidence, strong=False)


@lru_cache(maxsize=256)
def _pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    own = "|".join(
        (r"(?<!\w)" if marker[0].isascii() else "")
        + re.escape(marker)
        + (r"(?!\w)" if marker[-1].isascii() and marker[-1].isalnum() else "")
        for marker in sorted(markers, key=len, reverse=True)
    )
    alternatives = [*([f"(?P<own>{own}){_MARK}"] if own else []), _TAG, _HASHES, _BOXED, _NOUN]
    return re.compile("|".join(alternatives), re.IGNORECASE | re.MULTILINE)


class _Reader:
    """A reader of the answers after one text's markers, in time linear in the text's length."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._places: dict[str, tuple[int, int]] = {}

    def span(self, match: re.Match[str]) -> Span | None:
        """Return the span that a marker marks; None if it marks nothing, or only supposes it."""
        if match["noun"]:
            return self._noun(match)
        if match["brace"]:
            end = self._closing_braces.get(match.end() - 1)
            return None if end is None else Span(match.start(), match.end(), end, "\\boxed")
        if match["bare"]:
            return Span(match.start(), match.start("bare"), match.end(), "\\boxed")
        if match["hashes"]:
            end = self._find("\n", match.end())
            return Span(match.start(), match.end(), end, "line ####")
        if match["tag"]:
            return Span(match.start(), match.end(), self._find("</", match.end()), "<answer>")
        evidence = f"marker {match['own']}"[:80]
        spoken = match["own"][-1].isalnum()
        if spoken:
            return self._sentence(match.start(), match.end(), evidence)
        return self._line(match, evidence)

    def _noun(self, match: re.Match[str]) -> Span | None:
        text, relation = self._text, match["relation"]
        line = text.rfind("\n", max(0, match.start() - _LONGEST_CLAUSE), match.start()) + 1
        before = text[max(line, match.start() - _LONGEST_CLAUSE) : match.start()]
        leads = len(before) < _LONGEST_CLAUSE and _LEAD.fullmatch(before) is not None
        the = _THE.search(before)
        begin = match.start() - (len(before) - the.start() if the else 0)
        between = text[match.start() : match.start("relation") if relation else match.end()]
        if _DENIED.search(between):
            # "The answer here isn't 42", "the answer I doubt is 42".
            return Span(begin - 1, begin, match.end(), "the answer is, denied")
        if match["given"] is not None:
            named = the or _THE_ANSWER.search(before)
            span = self._sentence(begin, match.end(), "a further answer") if named else None
            return span and replace(span, strong=False)
        if not relation:
            return self._line(match, LINE) if leads else None
        if relation == "|":
            span = self._line(match, LINE)
            cell = self._text[span.start : span.end].partition("|")[0]
            return replace(span, end=span.start + len(cell)) if leads else None
        if relation[0] == "-" and not (leads or relation.endswith(">")):
            return None
        value = self._json_value(match) if relation[0] == ":" else None
        if value or (leads and not relation[0].isalpha()):
            return value or self._closed(before, self._line(match, LINE))
        if match["foreign"] or (the and _IS.match(relation)):
            return self._sentence(begin, match.end(), "the answer is")
        span = self._sentence(begin, match.end(), "a further answer")
        return span and replace(span, strong=False)

    def _json_value(self, match: re.Match[str]) -> Span | None:
        """Return the value of ``"answer": …`` in JSON."""
        text = self._text
        if '"' not in text[max(0, match.start() - len('"final_')) : match.start()]:
            return None
        start = _next_text(text, match.end())
        try:
            value, length = json.JSONDecoder().raw_decode(text[start : start + _LONGEST_SENTENCE])
        except (ValueError, RecursionError):
            return None
        quote = int(isinstance(value, str))
        end = start + length - quote
        return Span(match.start(), start + quote, end, "the key answer", strong=False)

    def _line(self, match: re.Match[str], evidence: str) -> Span:
        start = _next_text(self._text, match.end())
        begin, end = self._block(start) or (start, self._find("\n", start))
        return Span(match.start(), begin, end, evidence)

    def _closed(self, before: str, span: Span) -> Span:
        """Return a marked line without brackets and quotes that open before its marker."""
        content = self._text[span.start : span.end].rstrip()
        for opening in reversed(before):
            closing = _CLOSING.get(opening)
            if closing is None or not content.endswith(closing) or opening in content[:-1]:
                break
            content = content[:-1].rstrip()
            span = replace(span, end=span.start + len(content))
        return span

    def _sentence(self, marker: int, end: int, evidence: str) -> Span | None:
        text = self._text
        before = _clause(text, marker)
        if _SUPPOSED.search(before):
            return None
        start = _next_text(text, end)
        block = self._block(start)
        if block:
            return Span(marker, *block, evidence)
        limit = min(len(text), start + _LONGEST_SENTENCE)
        end = min(limit, self._sentence_end(start))
        end = start + len(text[start:end].removesuffix("です").removesuffix("입니다"))
        # Keep a question mark, which expresses doubt, and the sign of a factorial.
        end += text[end : end + 1] == "?" or bool(FACTORIAL.match(text, max(start, end - 1)))
        if _DENIED.search(before):
            begin = marker - len(before)
            return Span(begin - 1, begin, end, f"{evidence}, denied")
        about = _ABOUT_ANSWER.match(text[start:end]) is not None
        return Span(marker, start, end, evidence, about=about)

    def _block(self, start: int) -> tuple[int, int] | None:
        """Return the span of the content of a block that begins at ``start``, or None.

        Blocks are fenced code, displayed mathematics and lines with bullets.
        """
        text = self._text
        fence = _FENCE.match(text, start)
        if fence:
            return fence.end(), self._find(fence[1], fence.end())
        display = _DISPLAY.match(text, start)
        if display:
            return self._display(display)
        end, lines = start, 0
        while lines < _MOST_LINES and (bullet := _BULLET.match(text, end)):
            end, lines = self._find("\n", bullet.end()) + 1, lines + 1
        if lines > 1:
            return start, end - 1
        # A dash on the same line as its marker is a minus sign.
        bullet = _BULLET.match(text, start)
        own_line = start > 0 and text[start - 1] == "\n"
        return (bullet.end(), end - 1) if bullet and own_line and not bullet["number"] else None

    def _display(self, opening: re.Match[str]) -> tuple[int, int] | None:
        text, name = self._text, opening["name"] or ""
        closing = {"\\[": "\\]", "$$": "$$"}.get(opening.group(), f"\\end{{{name}}}")
        start, end = opening.end(), self._find(closing, opening.end())
        rest = text[end + len(closing) : self._find("\n", end)]
        if end == len(text) or rest.strip(" \t.,*_"):
            return None
        inner = _DISPLAY.match(text, _next_text(text, start))
        if inner and _ENVIRONMENTS.match(inner["name"] or ""):
            name, start = inner["name"], inner.end()
            end = max(start, text.rfind("\\end", start, end))
        if _ENVIRONMENTS.match(name):
            # The last of several lines gives the result.
            content = text[start:end].rstrip().removesuffix("\\\\")
            start += content.rfind("\\\\") + 2 if "\\\\" in content else 0
            start += len(content := text[start:end]) - len(content.lstrip(" \t\n&="))
        return start, end

    def _sentence_end(self, start: int) -> int:
        begin, place = self._places.get("", (0, -1))
        if not begin <= start <= place:
            stop = _SENTENCE_END.search(self._text, start)
            place = stop.start() if stop else len(self._text)
            self._places[""] = start, place
        return place

    def _find(self, part: str, start: int) -> int:
        """Return the next position of ``part``, or the end of the text, without repeated scans."""
        begin, place = self._places.get(part, (0, -1))
        if not begin <= start <= place:
            place = self._text.find(part, start)
            place = len(self._text) if place < 0 else place
            self._places[part] = start, place
        return place

    @cached_property
    def _closing_braces(self) -> dict[int, int]:
        """Positions of closing braces by those of their opening braces."""
        closing: dict[int, int] = {}
        opened: list[int] = []
        for match in _BRACE.finditer(self._text):
            if match.group() == "{":
                opened.append(match.start())
            elif opened:
                closing[opened.pop()] = match.start()
        return closing


def _clause(text: str, end: int) -> str:
    """Return the text before ``end`` in the same sentence, up to a length that matters."""
    near = text[max(0, end - _LONGEST_CLAUSE) : end]
    return _CLAUSE_END.split(near)[-1]


def _next_text(text: str, end: int) -> int:
    """Return the start of the marked text; on the next non-blank line for a lone marker."""
    blank = _BLANK.match(text, end)
    return blank.end() if blank else end
