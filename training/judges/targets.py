"""When an answer is a right one."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction

from tailrace.formats.eval_item import EvalItem
from training.judges.answers import Answer, same_text
from training.judges.choices import choice, option
from training.judges.lists import is_ordered
from training.judges.normalization import normalize, plain
from training.judges.quantities import Quantity, amount_in, is_percentage
from training.judges.units import PERCENT, SYMBOLS, unit_name

_LONGEST_LIST = 3000
_SPACE = re.compile(r"\s+")
_MONEY = re.compile(
    r"\b(?:costs?|price|pays?|paid|money|spen[dt]|earn(?:s|ed)?|worth|sold|sells?|buys?|bill|change|"
    r"dollars?|euros?|pounds?|cents?|yen|rupees?|usd|eur|gbp|jpy|inr)\b",
    re.IGNORECASE,
)
_UNIT_WORD = re.compile(r"[^\W\d_]+(?:/[^\W\d_]+)?(?:\^\d)?")
_NUMBER_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+)?")


@dataclass(frozen=True)
class Target:
    """A right answer of an item."""

    answer: Answer
    item: EvalItem

    def accepts(self, given: Answer) -> bool:
        """Whether ``given`` is this answer, with or without a reason behind it."""
        if self._is(given):
            return True
        head = given.without_reason()
        return head is not None and self._is(head)

    def _is(self, given: Answer) -> bool:
        if not given.text:
            return False
        wanted = option(self.answer.text, self.item)
        if wanted is not None:
            return choice(given, self.item) == wanted
        if self.answer.quantity is not None:
            # "5 MW" and "5 mW" are equal as text, but not as quantities.
            if given.quantity is not None:
                return self._equals(given.quantity)
            return False
        if same_text(given, self.answer):
            return True
        if len(given.text) > _LONGEST_LIST or self._repeats_prompt(given):
            return False
        if self.answer.day is not None:
            return given.day == self.answer.day
        return self._same_list(given)

    def lacks_unit(self, given: Answer) -> bool:
        """Whether the item wants a unit and ``given``, a number, has none."""
        quantity = given.quantity
        return self.item.unit_required and quantity is not None and not quantity.unit

    def is_near(self, value: Fraction) -> bool:
        """Whether a number is within the item's tolerance of this answer, itself included.

        Always false where this answer is no number.
        """
        right, tolerance = self.answer.quantity, self.item.tolerance
        if right is None or tolerance is None:
            return right is not None and value == right.value
        # By its decimal text: the float 0.3 is a little less than 0.3, and 5.3 would be too far.
        return abs(value - right.value) <= Fraction(str(tolerance))

    def in_its_unit(self, given: Quantity) -> str:
        """A number as text that is the same for equal ones, however written.

        Without its unit where that is the one that a plain number is meant in.
        """
        if self._unit and given.unit:
            value = amount_in(given, self._unit)
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
            value = amount_in(given, unit)
            if value is None or (given.unit != unit and self._asked_to_convert(given, value)):
                return False
        elif given.unit:
            if not self._unit_is_meant(given):
                return False
        elif unit == PERCENT and not self._percent_is_meant():
            return False
        return value is not None and self.is_near(value)

    def _fits_form(self, given: Quantity, right: Quantity) -> bool:
        """Whether it is worked out: a division or decimal of the prompt is not.

        Codes keep their zeros: 7 is not 007.
        """
        if given.form is not right.form and self._repeats_sum(given):
            return False
        coded = len(right.literal) > 1 and right.literal[0] == "0" and right.literal.isdigit()
        return not coded or given.literal == right.literal

    def _repeats_sum(self, given: Quantity) -> bool:
        literal, prompt = (_SPACE.sub("", t) for t in (given.literal, plain(self.item.prompt)))
        # 144/9 was to be divided; 1/2 is as simple as it gets.
        reduced = f"{abs(given.value.numerator)}/{given.value.denominator}" == literal
        return literal in prompt and not reduced

    def _asked_to_convert(self, given: Quantity, value: Fraction) -> bool:
        """Whether the prompt gives this very number, so that its unit was to be changed."""
        changed = value != given.value
        return changed and given.literal in _NUMBER_TOKEN.findall(plain(self.item.prompt))

    def _unit_is_meant(self, given: Quantity) -> bool:
        """Whether a unit that the right answer lacks is the one that is asked for."""
        if is_percentage(given):
            return False
        prompt = plain(self.item.prompt)
        if given.unit in SYMBOLS and not any(each in prompt for each in SYMBOLS):
            return _MONEY.search(prompt) is not None
        if given.unit in SYMBOLS:
            return given.unit in prompt
        asked = {unit_name(word) for word in _candidates(prompt)}
        return any(_same_unit(given, each) for each in asked)

    def _percent_is_meant(self) -> bool:
        prompt = self.item.prompt.casefold()
        return self.item.unit is not None or "percent" in prompt or "%" in prompt

    def _repeats_prompt(self, given: Answer) -> bool:
        return given.text in normalize(self.item.prompt)

    def _same_list(self, given: Answer) -> bool:
        right, said = self.answer.parts, given.parts
        if len(right) < 2 or len(right) != len(said):
            return False
        ends = {self.answer.text[0] + self.answer.text[-1], given.text[0] + given.text[-1]}
        if len(right) == 2 and ends <= {"()", "[]", "(]", "[)"} and len(ends) > 1:
            # They are different intervals.
            return False
        targets = [Target(Answer(each), self.item) for each in right]
        answers = [Answer(each) for each in said]
        if all(t.accepts(a) for t, a in zip(targets, answers, strict=True)):
            return True
        if self.item.ordered or is_ordered(self.item.prompt, self.answer.text):
            return False
        for target in targets:
            found = next((a for a in answers if target.accepts(a)), None)
            if found is None:
                return False
            answers.remove(found)
        return True


def _candidates(prompt: str) -> list[str]:
    """What in a prompt may be a unit: its words, and pairs of them."""
    words = _UNIT_WORD.findall(prompt)
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


def _same_unit(given: Quantity, asked: str) -> bool:
    return amount_in(given, asked) == given.value and bool(asked)
