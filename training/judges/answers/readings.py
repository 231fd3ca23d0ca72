"""An answer as written, and its readings as number, date, list, JSON or text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

from training.judges.answers.dates import Day, read_day
from training.judges.answers.normalization import bare, normalize, plain, symbols, trimmed
from training.judges.answers.numbers import Quantity, last_number, read_quantity, rewritten

LONGEST = 300
"""Length in characters above which an answer is only text, not a number, date or list."""
MOST_PARTS = 100
"""Number of elements above which a list is compared as text."""
_MOST_CUTS = 12

_ARTICLE = re.compile(r"(?:the|an?) (?=\S)")
_OPERATOR_SPACE = re.compile(r"\s*([-+*/=^×·÷<>≤≥≈±(),])\s*")
_THE_NUMBER = re.compile(r"\A(?:the )?(?:number|value|integer) ", re.IGNORECASE)
_SIGNED = re.compile(r"\((-?\d+)\)(?=\s?/)|(?<=-)\((\d+/\d+)\)")
_ASSIGNED = re.compile(
    r"\A(?:[=-]>|[→⇒=])\s*|\A[^\W\d_]\s*(?=≈)|[^\W\d_][\w']{0,15}(?:\([^\W\d_]\))?\s*=\s*(?=[^=])"
)
_CALCULATION = re.compile(r"[(\d][-+*/×÷·^(). \d,]*[-+*/×÷·^][-+*/×÷·^(). \d,]*=\s*(?=[^=]+\Z)")
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
_INDEX = re.compile(r"(?<=[^\W\d_])_(?=\d)")
_ELEMENTS = re.compile(
    r"(?:A[cglmrstu]|B[aeikr]?|C[adeflmorsu]?|D[bsy]|E[rsu]|F[er]?|G[ade]|H[efgos]?|I[nr]?|Kr?|"
    r"L[airu]|M[gno]|N[abdeiop]?|O[s]?|P[abdmortu]?|R[abehnu]|S[bceimnr]?|T[abcehilm]|U|V|W|Xe|"
    r"Yb?|Z[nr])\d{0,2}"
)
_CHEMISTRY = re.compile(
    r"\b(?:formula|symbol|chemical|element|molecule|compound|oxide|gas)\b", re.I
)
_ASKS_CASE = re.compile(
    r"\b(?:(?:upper|lower|camel|title|snake|pascal)[ -]?case|(?:capital|small|block) letters?|"
    r"capitali[sz]e|all caps)\b",
    re.IGNORECASE,
)

_BRACES = re.compile(r"\{(.*)\}|\[(.*)\]|\((.*)\)", re.DOTALL)
_SEPARATOR = re.compile(r"\s*[,;]\s*(?:(?:and|&)\s+)?|\s+(?:and|&|/|\|)\s+|\s*\n\s*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBERED = re.compile(r"(?:^|\s)\(?(\d{1,2})[.)]\s+")
_BULLET = re.compile(r"\s*(?:[-*•●▪◦·+→]|\(?\d{1,3}[.)])\s+")
_ORDER = re.compile(
    r"\b(?:(?:in|what|which|correct|right|ascending|descending|alphabetical|chronological) order|"
    r"order (?:them|these|the)|sort(?:ed|ing)?|rank(?:ed|ing)?|ascending|descending|"
    r"(?:in|de)creasing|alphabetically|chronologically|respectively|reversed?|backwards?|"
    r"(?:smallest|largest|lowest|highest|biggest|shortest|longest|oldest|youngest|earliest|latest) "
    r"to)\b",
    re.IGNORECASE,
)

_SUBJECT = re.compile(
    r"(?:so,? |thus,? |hence,? |therefore,? )?(?P<subject>it|this|that|there|they|"
    r"\d[^.,;:=\n]{0,40}?|"
    r"(?:the|we|our|its|their) ?[^.,;:=\n]{0,60}?)"
    r"(?:'s| is| are| was| were| have| has| get| equals?)"
    r"(?: thus| therefore| exactly| equal to)? (?=\S)",
    re.IGNORECASE,
)
_WORDS_OF_REASON = (
    "because|since|as|which|who|whose|where|when|after|before|so|thus|hence|therefore|given|"
    "obtained|found|calculated|computed|derived|determined|based|using|by|due|being|namely|i\\.e|"
    "that is|according|rounded|with|for|from|in|it|this|that|we|i|you|they|there|exactly|making|"
    "of course|obviously|clearly|naturally|indeed|known (?:as|for)|also known|called|located|"
    "situated|home"
)
_CUT = re.compile(
    r"(?P<sentence>[.!]\s+|\s*\n\s*)|(?P<pause>\s*[,;:]\s+|\s+-+\s+)|(?P<bracket>\s*[(\[](?=.*[)\]]\W*$))|"
    r"(?P<known>\s+is\s+(?=(?:the|an?)\b))|(?P<result>\s*=\s*(?=[^=]*\d\s*[-+*/×÷·]))|"
    r"(?P<reason>\s+(?=(?:because|since|as|which|so that|after|when|once|obtained|by \w+ing|"
    r"(?:rather than|instead of) \S|"
    r"(?:in total|in all|altogether|overall|exactly|total|approximately|approx)\W*$|"
    r"and (?:we|i|you|this|that|it|so|they|there|the (?:answer|problem|proof|task))\b)))",
    re.IGNORECASE,
)
_REASON = re.compile(
    rf"(?:and )?(?:{_WORDS_OF_REASON}|in total|in all|altogether|overall|total)\b", re.I
)
_APPOSITION = re.compile(
    r"(?:the|an?|its?|one)\b.*\b(?:of|in|that|which|who|for|from|with|to|on|at|between|by|both|as)\b",
    re.IGNORECASE,
)
_YEARS = re.compile(r"(?:born|died|c\.|ca\.|ad|bc|[\d\s./-])+\Z", re.IGNORECASE)
_RESULT = re.compile(
    r"(?P<equals>(?P<left>[^=,;]{0,60})=|\b(?:so|thus|hence|therefore|is|are|be|becomes?|makes?|"
    r"gives?|equals?|(?:up|comes?|amounts?|leads?|doubles?|halves?|triples?|brings? \w+|\w+ing) to|"
    r"gets?|equall?ing|total(?:ling|ing)?|making|giving|yielding|leaving)\b|\bmore,)"
    r"[\s$€£(]*(?P<number>-?\d[\d,]*(?:\.\d+)?)(?=\s*(?:[.,;)!%]|\Z|(?:in (?:total|all)|"
    r"altogether|together|overall|total)\b)(?!\d))",
    re.IGNORECASE,
)
_CONTRAST = re.compile(
    r"(?:and )?(?:not|rather than|instead of) (?P<other>\S+(?: \S+){0,2})\Z", re.I
)
_ING = re.compile(r"\w+ing\b")
_DOUBT = re.compile(
    r"n't\b|\b(?:not|nor?|never|maybe|perhaps|but|however|wrong|incorrect|mistaken|false|"
    r"untrue|or|might|may|"
    r"could|possibly|probably|unless|either|although|though|actually|wait|unsure|guess|if|instead|"
    r"rather|unlikely|too \w+|alternatively|assum\w+|hmm+|oops|sorry|correction|edit)\b|\?",
    re.IGNORECASE,
)
_DOUBT_OF_NO = re.compile(
    r"\b(?:yes|maybe|perhaps|but|however|wrong|or|wait|actually|unless|might|may|if|sorry)\b|\?",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"[\"'*_` ]*(?P<head>yes|no)\b[*_`]*"
    r"(?:[,.;:!][*_`]*\s+(?=\S)|\s+-+\s+|\s+(?=because|since|as|\())",
    re.IGNORECASE,
)
_ONE_WORD = re.compile(r"[\w\s]{0,2}\w+\W?")
_ROUGHLY = re.compile(r"(?:approx|roughly|about|ish\b)", re.IGNORECASE)
_STOP_WORDS = frozenset(
    (
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "is",
        "are",
        "was",
        "and",
        "which",
        "it",
        "its",
        "s",
    )
)
_WORD = re.compile(r"\w+")


class Answer:
    """One answer with its readings, each computed when it is first needed."""

    def __init__(
        self,
        written: str,
        *,
        marked: bool = True,
        keep: str = "",
        paragraph: str = "",
        rest: str = "",
    ) -> None:
        self.written = written
        self.paragraph = paragraph
        self.rest = rest
        self.text = normalize(written, keep)
        self.keep = keep
        self._marked = marked

    @classmethod
    @lru_cache(maxsize=4096)
    def right(cls, written: str) -> Answer:
        """Return an expected answer, whose symbols count; recent ones are cached."""
        return cls(written, keep=symbols(written))

    def exact(self, right: Answer) -> Answer:
        """Return the same answer with the symbols that count in a right answer."""
        if right.keep == self.keep:
            return self
        return Answer(self.written, marked=self._marked, keep=right.keep, paragraph=self.paragraph)

    @cached_property
    def words(self) -> str:
        """Text without differences that do not matter between texts."""
        text = _HYPHEN.sub(" ", _ARTICLE.sub("", self.text, count=1))
        if "_" not in self.keep or _is_formula(self.written):
            text = _INDEX.sub("", text)
        return tight(text)

    @cached_property
    def quantity(self) -> Quantity | None:
        """Number that the answer is, if any; 5 for a marked ``x = 5`` or ``2 + 3 = 5``."""
        return None if len(self.written) > LONGEST else read_quantity(self._number)

    @cached_property
    def otherwise(self) -> Quantity | None:
        """Number in a notation allowed only in given answers: a decimal comma, 10^3."""
        if len(self.written) > LONGEST:
            return None
        text = rewritten(self._number)
        quantity = read_quantity(text) if text != self._number else None
        return quantity and replace(quantity, literal=self._number)

    @cached_property
    def _number(self) -> str:
        text = trimmed(plain(self.written, self.keep), '"*_` ', '"*_`.,;:! ', self.keep)
        if text[:1] == text[-1:] == "'":
            text = text[1:-1]
        if self._marked:
            text = _THE_NUMBER.sub("", text, count=1)
            text = _CALCULATION.sub("", _ASSIGNED.sub("", text, count=1), count=1)
        text = bare(text, "".join(pair for pair in ("{}", "<>") if pair[0] not in self.keep))
        return bare(_SIGNED.sub(r"\1\2", text))

    @cached_property
    def day(self) -> Day | None:
        """Date that the answer is, if any."""
        return read_day(self.text)

    @cached_property
    def parts(self) -> list[str]:
        """Elements of the answer as a list; a single one if it is not a list."""
        return read_list(self.written if "\n" in self.written else self.text)

    @cached_property
    def json(self) -> Any:
        """JSON object or array that the answer is; None for other text."""
        text = plain(self.written, "*_`").strip()
        if text[:1] + text[-1:] not in ("{}", "[]"):
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None

    def heads(self, prompt: str) -> Iterator[Answer]:
        """Yield shorter readings of the answer, without a rest that only elaborates on it.

        "42, which is the total" is 42; "42, so 45" and "Paris, Texas" have no shorter reading.
        """
        text = self.written
        plain_number = self.quantity is not None and not self.quantity.unit
        if plain_number or len(text) > 3 * LONGEST or _ONE_WORD.fullmatch(text):
            return
        yes_no = _YES_NO.match(text)
        if yes_no:
            doubt = _DOUBT_OF_NO if yes_no["head"].lower() == "no" else _DOUBT
            if not doubt.search(text, yes_no.end()):
                yield Answer(yes_no["head"])
        if not self._marked:
            return
        yield from self._heads(text, prompt)
        subject = _SUBJECT.match(text)
        if subject and not _DOUBT.search(subject["subject"]):
            text = text[subject.end() :]
            yield Answer(text, keep=self.keep)
            yield from self._heads(text, prompt)

    def _heads(self, text: str, prompt: str) -> Iterator[Answer]:
        for cut, _ in zip(_CUT.finditer(text, 1), range(_MOST_CUTS), strict=False):
            rest = text[cut.end() :]
            head = Answer(text[: cut.start()], keep=self.keep, rest=rest)
            if _only_elaborates(head, cut.lastgroup or "", rest, prompt):
                yield head


def tight(text: str) -> str:
    """Return the text without spaces around operators."""
    return _OPERATOR_SPACE.sub(r"\1", text)


def same_text(one: Answer, two: Answer) -> bool:
    """Return whether two answers are the same text, up to differences that do not matter."""
    if one.text == two.text or one.words == two.words:
        return True
    first, second = bare(one.text), bare(two.text)
    # (1, 2) may mean 1, 2; but [1, 2] is another interval.
    both = first != one.text and second != two.text
    return not both and first == second


def same_json(one: Any, two: Any) -> bool:
    """Return whether two JSON values are equal; true is not 1."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same_json(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same_json, one, two))
    return isinstance(one, bool) is isinstance(two, bool) and bool(one == two)


def other_case(right: str, given: str, prompt: str) -> bool:
    """Return whether only the case of letters distinguishes two answers: CO and Co, PH and pH."""
    one, two = right.strip(" ."), given.strip(" .*_`$\"'")
    if one == two or one.casefold() != two.casefold():
        return False
    if _ASKS_CASE.search(prompt):
        return True
    if len(one) <= 3 and one[:1].islower() and not one.islower():
        return not two.islower()
    return _other_formula(one, two, prompt)


def _is_formula(text: str) -> bool:
    return not _ELEMENTS.sub("", re.sub(r"[${}_]", "", text)).strip(" .")


def _other_formula(one: str, two: str, prompt: str) -> bool:
    if len(one) > 8:
        return False
    asks = _CHEMISTRY.search(prompt) is not None
    if not asks and (len(one) > 4 or one.casefold() == "no"):
        return False
    formulas = [[m.group() for m in _ELEMENTS.finditer(text)] for text in (one, two)]
    texts = zip(formulas, (one, two), strict=True)
    first, second = ("".join(formula) == text for formula, text in texts)
    return first and not two.islower() and (asks or (second and formulas[0] != formulas[1]))


def read_list(text: str) -> list[str]:
    """Return the elements of a list; the text itself if it is not a list, or has too many."""
    text = text.strip()
    braced = _BRACES.fullmatch(text)
    inner = next((group for group in braced.groups() if group is not None), "") if braced else text
    numbers = [int(number) for number in _NUMBERED.findall(inner)]
    if len(numbers) > 1 and numbers == list(range(1, len(numbers) + 1)):
        parts = _NUMBERED.split(inner)[2::2]
    elif "\n" in inner.strip():
        parts = [_BULLET.sub("", line, count=1) for line in inner.splitlines() if line.strip()]
    else:
        # The comma of 1,234 is not a separator.
        guarded = _THOUSANDS.sub("\0", inner) if not braced else inner
        parts = [part.replace("\0", ",") for part in _SEPARATOR.split(guarded)]
    parts = [part.strip().rstrip(",;").strip() for part in parts]
    return parts if len(parts) <= MOST_PARTS and all(parts) else [text]


def is_ordered(prompt: str, expected: str) -> bool:
    """Return whether the order of a list counts: if the prompt mentions one, and in (1, 2)."""
    return expected.startswith("(") or _ORDER.search(prompt) is not None


def _only_elaborates(head: Answer, separator: str, rest: str, prompt: str) -> bool:
    """Return whether the rest of a sentence neither doubts nor changes nor extends its answer."""
    rest = rest.strip().rstrip(" .!;,)]*_`").strip()
    if not rest or not head.text:
        return False
    contrast = _CONTRAST.match(rest)
    if contrast and separator in ("pause", "reason") and not _ING.match(contrast["other"]):
        return normalize(contrast["other"]) != head.text and not _DOUBT.search(contrast["other"])
    if _DOUBT.search(rest) or _contradicts(head, rest):
        return False
    is_integer = head.quantity is not None and head.quantity.value.denominator == 1
    if is_integer and _ROUGHLY.match(rest):
        return False
    if separator in ("reason", "result"):
        return separator == "reason" or head.quantity is not None
    if separator == "sentence":
        return len(rest.split()) > 2
    if separator == "known":
        return head.quantity is not None or _is_known(head, rest, prompt)
    if _REASON.match(rest) or _APPOSITION.match(rest):
        return True
    if head.quantity is not None:
        number = separator == "bracket" and Answer(rest).quantity is not None
        return number or not rest[0].isdigit() or any(sign in rest for sign in "+*/×÷=-")
    return _is_known(head, rest, prompt) or (
        separator == "bracket" and (bool(_YEARS.match(rest)) or _is_acronym(head.written, rest))
    )


def _contradicts(head: Answer, rest: str) -> bool:
    """Return whether the last result in ``rest`` is a number other than the answer."""
    quantity = head.quantity
    if quantity is None:
        return False
    other = Answer(rest).quantity
    if other is not None:
        return other.value != quantity.value
    results = list(_RESULT.finditer(rest))
    if not results:
        return False
    last = results[-1]
    if last["left"] and quantity.literal in re.findall(r"\d[\d,.]*", last["left"]):
        return False
    value = last_number(last["number"])
    return value is not None and value != abs(quantity.value) and value != quantity.value


def _is_known(head: Answer, rest: str, prompt: str) -> bool:
    """Return whether a rest only repeats words of the prompt: "Paris, France".

    An answer that is in the prompt, too, is one of the options: "Paris, London". A letter must
    label the answer in the prompt.
    """
    if len(rest) == 1 and rest.isalpha():
        listed = rf"\b{rest.casefold()}\s?[).:\]]\s*{re.escape(head.text)}"
        return re.search(listed, prompt.casefold()) is not None
    prompt_words = set(_WORD.findall(prompt.casefold()))
    words = set(_WORD.findall(rest.casefold())) - _STOP_WORDS
    head_words = set(_WORD.findall(head.text))
    return words <= prompt_words and (len(head.text) == 1 or not head_words <= prompt_words)


def _is_acronym(head: str, rest: str) -> bool:
    initials = "".join(word[0] for word in _WORD.findall(head) if word[0].isupper())
    return len(rest) > 1 and rest.isupper() and rest == initials
