"""Right answers of an eval item, and their comparison with given ones."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tailrace.formats.data.eval_item import EvalItem
from training.judges.answers.normalization import bare, clean, normalize, plain
from training.judges.answers.numbers import MULTIPLES, Quantity
from training.judges.answers.readings import Answer, is_ordered, other_case, same_json, same_text
from training.judges.answers.units import PERCENT, SYMBOLS, unit_name

_LONGEST_LIST = 3000
_SPACE = re.compile(r"\s+")
_MONEY = re.compile(
    r"\b(?:costs?|price|pays?|paid|money|spen[dt]|earn(?:s|ed)?|worth|sold|sells?|buys?|bill|change|"
    r"dollars?|euros?|pounds?|cents?|yen|rupees?|usd|eur|gbp|jpy|inr)\b",
    re.IGNORECASE,
)
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which|how (?:many|much)|find|calculate|compute|determine|give|express|write)\b"
    r"[^.?!;\d]{0,40}?(?:\bper ?cent(?:age)?\b|%)|(?<!\d )\bpercentage of\b|"
    r"\b(?:as|in) (?:an? )?(?:per ?cent(?:age)?\b|%)|%\s*$",
    re.IGNORECASE,
)
_UNIT_WORD = re.compile(r"[^\W\d_]+(?:/[^\W\d_]+)?(?:\^\d)?")
_NUMBER_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+)?")
_NO_WORD = re.compile(r"\W+")
_OPEN, _CLOSE = r"[(\[{<\"'【]{0,2}", r"[)\]}>\"'】]{0,2}"
_OPTION = (
    rf"(?:the )?{_OPEN}(?:(?:option|choice|answer|letter) )?{_OPEN}\s?(?P<letter>[a-z])\s?{_CLOSE}"
)
_LETTER = re.compile(
    rf"{_OPTION}(?:\s*(?:[).:,/=;]|-+>?|→)?\s*(?<=[\s)\]}}>.:/=→]){_OPEN}(?P<rest>.+?){_CLOSE})?",
    re.DOTALL,
)
_ORDINAL = re.compile(
    r"(?:the )?(first|second|third|fourth|fifth|sixth) (?:one|option|choice|answer)"
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_LETTER_BEHIND = re.compile(rf"(?P<rest>.+?)\s*[,:(\[-]?\s*(?<=[\s(\[]){_OPTION}", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """A right answer of an eval item."""

    answer: Answer
    item: EvalItem

    def accepts(self, given: Answer) -> bool:
        """Return whether ``given`` is this answer, or gives it and only elaborates on it."""
        given = given.exact(self.answer)
        return self._is(given) or any(
            self._is(head) and not self._names_another(head.rest)
            for head in given.heads(self.item.question)
        )

    def _names_another(self, rest: str) -> bool:
        """Return whether the rest of a sentence names another option, and not this one."""
        if not rest or not self.item.choices:
            return False
        text = f" {_NO_WORD.sub(' ', normalize(rest))} "
        names = {f" {_NO_WORD.sub(' ', normalize(clean(name)))} " for name in self.item.choices}
        right = f" {_NO_WORD.sub(' ', self.answer.text)} "
        letter = _LETTER.fullmatch(text.strip())
        return right not in text and (
            (letter is not None and not letter["rest"])
            or any(name in text for name in names - {right})
        )

    def _is(self, given: Answer) -> bool:
        if not given.text:
            return False
        if given.written.strip() == self.answer.written.strip():
            return True
        right_option = option(self.answer.text, self.item)
        if right_option is not None:
            return choice(given, self.item) == right_option
        if self.answer.quantity is not None:
            # "5 MW" and "5 mW" are equal as text, but not as quantities.
            return any(self._equals(quantity) for quantity in _quantities(given))
        if same_text(given, self.answer):
            return self._same_case(given)
        if self.answer.json is not None and same_json(self.answer.json, given.json):
            return True
        if self._is_letter(given):
            return True
        if len(given.text) > _LONGEST_LIST or self._repeats_prompt(given):
            return False
        if self.answer.day is not None:
            return given.day == self.answer.day
        return self._same_list(given)

    def _same_case(self, given: Answer) -> bool:
        if isinstance(self.answer.json, dict) and given.json is not None:
            return same_json(self.answer.json, given.json)
        return not other_case(self.answer.written, given.written, self.item.question)

    def lacks_unit(self, given: Answer) -> bool:
        """Return whether the item requires a unit and ``given``, a number, has none."""
        if not self.item.unit_required:
            return False
        heads = (given, *given.heads(self.item.question))
        quantity = next((head.quantity for head in heads if head.quantity), None)
        return quantity is not None and not quantity.unit

    def is_near(self, value: Fraction) -> bool:
        """Return whether a number is within the item's tolerance of this answer.

        Always false if this answer is not a number.
        """
        right, tolerance = self.answer.quantity, self.item.tolerance
        if right is None or tolerance is None:
            return right is not None and value == right.value
        # As decimal text: the float 0.3 is slightly below 0.3, so 5.3 would be out of tolerance.
        return abs(value - right.value) <= Fraction(str(tolerance))

    def in_its_unit(self, given: Quantity) -> str:
        """Return a number as text that is the same for all equal quantities.

        A unit that a plain number implies is left out.
        """
        if self._unit and given.unit:
            value = given.amount_in(self._unit)
            if value is not None:
                return str(value)
        meant = not given.unit or (not self._unit and self._unit_is_meant(given))
        return str(given.value) if meant else f"{given.value} {given.unit}"

    @property
    def _unit(self) -> str:
        quantity = self.answer.quantity
        if quantity is not None and quantity.unit:
            return quantity.unit
        return unit_name(plain(self.item.unit)) if self.item.unit else ""

    def _equals(self, given: Quantity) -> bool:
        right, unit = self.answer.quantity, self._unit
        if right is None or not self._fits_form(given, right):
            return False
        value: Fraction | None = given.value
        if given.unit and unit:
            value = given.amount_in(unit)
            if value is None or (given.unit != unit and self._asked_to_convert(given, value)):
                return False
        elif given.unit in MULTIPLES and not self._unit_is_meant(given):
            value = given.value * MULTIPLES[given.unit]
        elif given.unit:
            if not self._unit_is_meant(given):
                return False
        elif unit == PERCENT and not self._percent_is_meant():
            return False
        return value is not None and self.is_near(value)

    def _fits_form(self, given: Quantity, right: Quantity) -> bool:
        """Return whether the number is worked out: a division or decimal of the prompt is not.

        Codes keep their zeros: 7 is not 007. An integer must be exact, not "about".
        """
        if given.about and right.value.denominator == 1 and self.item.tolerance is None:
            return False
        if given.form is not right.form and self._repeats_sum(given):
            return False
        coded = len(right.literal) > 1 and right.literal[0] == "0" and right.literal.isdigit()
        return not coded or given.literal == right.literal

    def _repeats_sum(self, given: Quantity) -> bool:
        literal, prompt = (_SPACE.sub("", t) for t in (given.literal, plain(self.item.question)))
        # 144/9 was to be divided; 1/2 cannot be simplified.
        reduced = f"{abs(given.value.numerator)}/{given.value.denominator}" == literal
        return literal in prompt and not reduced

    def _asked_to_convert(self, given: Quantity, value: Fraction) -> bool:
        """Return whether the prompt gives this very number and asks for another unit."""
        changed = value != given.value
        return changed and given.literal in _NUMBER_TOKEN.findall(plain(self.item.question))

    def _unit_is_meant(self, given: Quantity) -> bool:
        """Return whether a unit that the right answer lacks is the one that the prompt asks for."""
        prompt = plain(self.item.question)
        if given.unit == PERCENT:
            return _ASKS_PERCENT.search(prompt) is not None
        if given.unit in SYMBOLS and not any(symbol in prompt for symbol in SYMBOLS):
            return _MONEY.search(prompt) is not None
        if given.unit in SYMBOLS:
            return given.unit in prompt
        units = {unit_name(words) for words in _unit_candidates(prompt)}
        return any(given.amount_in(unit) == given.value for unit in units if unit)

    def _percent_is_meant(self) -> bool:
        prompt = self.item.question.casefold()
        return self.item.unit is not None or "percent" in prompt or "%" in prompt

    def _repeats_prompt(self, given: Answer) -> bool:
        return given.text in normalize(self.item.question)

    def _is_letter(self, given: Answer) -> bool:
        """Return whether ``given`` names the option with the expected letter: ``B) Paris``."""
        letter = bare(self.answer.text)
        match = _LETTER.fullmatch(given.text) if len(letter) == 1 and letter.isalpha() else None
        if match is None or match["letter"] != letter:
            return False
        return not match["rest"] or match["rest"] in normalize(self.item.question)

    def _same_list(self, given: Answer) -> bool:
        right = self.answer.parts
        if len(right) < 2:
            return False
        parts = given.parts
        if len(parts) != len(right) and given.paragraph:
            parts = Answer(given.paragraph).parts
        if len(right) != len(parts):
            return False
        ends = {self.answer.text[0] + self.answer.text[-1], given.text[0] + given.text[-1]}
        intervals = ends <= {"()", "[]", "(]", "[)"} or ends == {"()", "{}"}
        if len(right) == 2 and intervals and len(ends) > 1:
            # Different intervals, or a pair and a set.
            return False
        targets = [Target(Answer.right(part), self.item) for part in right]
        answers = [Answer(part) for part in parts]
        if all(t._is(a.exact(t.answer)) for t, a in zip(targets, answers, strict=True)):
            return True
        if self.item.ordered or is_ordered(self.item.question, self.answer.text):
            return False
        for target in targets:
            match = next((a for a in answers if target._is(a.exact(target.answer))), None)
            if match is None:
                return False
            answers.remove(match)
        return True


def choice(given: Answer, item: EvalItem) -> int | None:
    """Return the index of the option that an answer means by its text, its letter, or both."""
    if not item.choices:
        return None
    named = _named(given.text, item)
    if named is not None:
        return named
    if len(given.text) > _LONGEST_LIST:
        return None
    for form in (_LETTER, _LETTER_BEHIND):
        match = form.fullmatch(given.text)
        index = ord(match["letter"]) - ord("a") if match else -1
        if match and 0 <= index < len(item.choices):
            rest = match["rest"]
            if not rest or _named(rest, item) == index:
                return index
    return None


def _named(text: str, item: EvalItem) -> int | None:
    """Return the index of the option with this text or place: "the second one"."""
    place = _ORDINAL.fullmatch(text)
    named = option(text, item)
    if named is None and place:
        named = _ORDINALS.index(place[1])
    return named


def option(text: str, item: EvalItem) -> int | None:
    """Return the index of the option with this text, if any."""
    if not item.choices:
        return None
    for index, name in enumerate(item.choices):
        right = Answer.right(clean(name))
        if same_text(Answer(text, keep=right.keep), right):
            return index
    return None


def _quantities(given: Answer) -> Iterator[Quantity]:
    readings = (given.quantity, given.otherwise)
    yield from (quantity for quantity in readings if quantity is not None)


def _unit_candidates(prompt: str) -> Sequence[str]:
    """Return the words of a prompt, and pairs of them, that may be units."""
    words = _UNIT_WORD.findall(prompt)
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]
