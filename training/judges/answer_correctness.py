"""The judge of final answers: is what the text marks as its answer the expected one?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tailrace.formats.eval_item import EvalItem
from training.judges.base import Judgement
from training.judges.extraction import marked_answers
from training.judges.normalization import last_number, normalize, number

_PHRASE_START = re.compile(r"[:=]|\bis\b", re.IGNORECASE)


class AnswerCorrectnessJudge:
    """Compares the marked answer with the expected and accepted ones.

    A text that marks several differing answers is ambiguous and fails. Without a marker the whole
    text must be the answer. Numbers compare by value, within the item's tolerance.
    """

    name = "answer_correctness"
    version = "1"

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """Judge one generated text; see :class:`training.judges.base.Judge`."""
        accepted = [item.expected_answer, *item.accepted_answers]
        right = [_Answer.read(answer, item) for answer in accepted]
        one_line = not any("\n" in answer.strip() for answer in accepted)
        marked = marked_answers(text, whole_lines=one_line)
        found = list({_Answer.read(answer, item): answer for answer in marked or [text]}.items())
        passed, reason = _decide([answer for answer, _ in found], right, item, bool(marked))
        return Judgement(
            passed=passed,
            score=float(passed),
            extracted=" | ".join(written for _, written in found).strip() if marked else "",
            reason=reason,
            flexible=passed or _flexible(text, right, item),
            marked=bool(marked),
        )


@dataclass(frozen=True)
class _Answer:
    """An answer in comparable form; numbers of one value are equal, however written."""

    text: str
    """Normalized, without the item's unit; the number's value where it is one."""
    value: Fraction | None
    unit: bool
    """Whether it names the item's unit."""

    @classmethod
    def read(cls, answer: str, item: EvalItem) -> _Answer:
        """The comparable form of an answer as written."""
        text = _choice(normalize(answer), item)
        value = number(text)
        amount = _without_unit(text, item.unit) if item.unit else None
        if value is None and amount is not None:
            return cls(str(amount), amount, True)
        return cls(str(value) if value is not None else text, value, False)


def _without_unit(text: str, unit: str) -> Fraction | None:
    """The number before the unit, or None when ``text`` is not a number with that unit."""
    # Powers are written cm^2, cm² (which Unicode unifies with cm2) and cm2.
    ending = normalize(unit).replace("^", "")
    plain = text.replace("^", "")
    return number(normalize(plain.removesuffix(ending))) if plain.endswith(ending) else None


def _choice(text: str, item: EvalItem) -> str:
    """The option that a letter or ``b) option`` means, or the text itself."""
    options = [normalize(option) for option in item.choices]
    letter, _, rest = text.partition(" ")
    letter = letter.strip("().:")
    index = ord(letter) - ord("a") if len(letter) == 1 else -1
    if text in options or not 0 <= index < len(options):
        return text
    return options[index] if normalize(rest) in ("", options[index]) else text


def _decide(
    found: list[_Answer], right: list[_Answer], item: EvalItem, marked: bool
) -> tuple[bool, str]:
    values = {answer.text for answer in found}
    if len(values) > 1:
        return False, f"ambiguous: the text marks {len(values)} differing answers"
    answer = max(found, key=lambda each: each.unit)
    where = "the marked answer" if marked else "the whole text, which marks no answer,"
    if not answer.text:
        return False, f"{where} is empty"
    if not any(_same(answer, each, item) for each in right):
        return False, f"{where} is not the expected answer"
    if item.unit_required and not answer.unit:
        return False, f"{where} lacks the unit {item.unit}"
    return True, f"{where} is the expected answer"


def _same(answer: _Answer, right: _Answer, item: EvalItem) -> bool:
    if answer.value is None or right.value is None:
        return answer.text == right.text
    tolerance = Fraction(item.tolerance) if item.tolerance is not None else Fraction(0)
    return abs(answer.value - right.value) <= tolerance


def _last_phrase(text: str) -> str:
    """The last line, from its last colon, equals sign or "is" on."""
    lines = text.strip().splitlines()
    return normalize(_PHRASE_START.split(lines[-1])[-1]) if lines else ""


def _flexible(text: str, right: list[_Answer], item: EvalItem) -> bool:
    last = last_number(text)
    phrase = _last_phrase(text)
    for answer in right:
        if answer.value is not None:
            found = last is not None and _same(_Answer(str(last), last, True), answer, item)
        else:
            found = bool(phrase) and phrase == answer.text
        if found:
            return True
    return False
