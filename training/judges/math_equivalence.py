"""The judge `math_equivalence`: the answer must equal the expected one by algebra."""

from __future__ import annotations

import re

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES
from training.judges.answers.extraction import extraction_rules, find_answers, right_answers
from training.judges.answers.normalization import normalize, symbols
from training.judges.answers.numbers import number
from training.judges.answers.readings import Answer, tight
from training.judges.answers.units import unit_name
from training.judges.answers.votes import AMBIGUOUS
from training.judges.base import (
    JudgeError,
    JudgeSetup,
    TextJudge,
    TextVerdict,
    require_answer,
)
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError

PROCESS = BoundedProcess(
    "training.judges.answers.math_comparison:answer", seconds=20.0, memory_bytes=4 << 30
)
"""The process for algebra, which takes milliseconds for most answers. Hostile text (``9^{9^{9}}``)
takes unbounded time and memory in calls that no signal interrupts, so the process can be killed."""

_LONGEST = 2000
_NAMED = re.compile(r"^\s*[a-zA-Z]\s*=(?!=)")
_DEGREES = r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°"


class MathEquivalenceJudge(TextJudge):
    r"""Passes answers that equal the expected one by algebra: ``\frac{1}{2}`` and 0.5.

    Answers are extracted as in ``answer_correctness``. A number must be worked out: 3 + 4, 2^3 and
    14/2 do not pass for 7 or 8. Percentages, angles and other units do not pass for plain numbers.
    Plain numbers are compared exactly, decimals and other expressions to 12 places.
    """

    name = "math_equivalence"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        self._markers = setup.spec.markers

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        require_answer(item)
        written = right_answers(item, self._markers)
        rules = extraction_rules(item, written, self._markers)
        extracted = find_answers(text, rules)
        answers = list(dict.fromkeys(_plain(answer.text, item.unit) for answer in extracted))
        right = [_plain(answer, item.unit) for answer in written]
        same, reason = self._compare(answers, right, item.question)
        return TextVerdict(
            passed=same,
            score=float(same),
            reason=reason,
            extracted=" | ".join(
                answer.text for answer in extracted if answer.marked or not rules.reads_markers
            ),
            evidence=extracted[0].evidence,
            vote=_vote(answers, right[0], same=same),
            marked=extracted[0].marked if rules.reads_markers else None,
        )

    def _compare(self, answers: list[str], right: list[str], prompt: str) -> tuple[bool, str]:
        if not all(answers):
            return False, "the answer is empty"
        if max(map(len, answers)) > _LONGEST:
            return False, f"the answer is longer than {_LONGEST} characters"
        for answer in answers:
            same, understood = self._is_one_of(right, answer, prompt)
            if not same:
                several = "one of several marked answers" if len(answers) > 1 else "the answer"
                read = f", read as {understood}" if understood else ""
                return False, f"{several} is not equal to the expected one{read}"
        return True, "equal to the expected answer"

    def _is_one_of(self, right: list[str], answer: str, prompt: str) -> tuple[bool, str]:
        """Return whether an answer, or a shorter reading of it, is right, and how it was read."""
        understood = ""
        for written in (answer, *(head.written for head in Answer(answer).heads(prompt))):
            if any(
                tight(normalize(written, symbols(r))) == tight(normalize(r, symbols(r)))
                for r in right
            ):
                return True, written
            # Algebra drops the prime of f'.
            primes = [r for r in right if r.count("'") == written.count("'")]
            same, read = _equal(primes, written) if primes else (False, "")
            understood = understood or read
            if same:
                return True, read
        return False, understood


def _equal(right: list[str], answer: str) -> tuple[bool, str]:
    """Return whether ``answer`` equals one of ``right``, and how it was understood.

    Raises:
        JudgeError: The comparison takes too much time or memory, or cannot be decided.
    """
    try:
        reply = PROCESS.ask({"right": right, "answer": answer})
    except OutOfBoundsError as error:
        raise JudgeError(f"comparing {error}") from error
    except WorkFailedError as error:
        raise JudgeError(f"the answers could not be compared: {error}") from error
    return bool(reply["same"]), str(reply["parsed"])


def _vote(answers: list[str], expected: str, *, same: bool) -> str:
    """Return the expected answer if it was given, or the given answers' value or text."""
    if same:
        return _canonical(expected)
    votes = {_canonical(answer) for answer in answers}
    return votes.pop() if len(votes) == 1 else AMBIGUOUS


def _canonical(answer: str) -> str:
    text = normalize(_NAMED.sub("", answer))
    value = number(text)
    return text if value is None else str(value)


def _plain(answer: str, unit: str | None) -> str:
    """Return the answer without the unit that the item names."""
    if unit is None:
        return answer.strip()
    written = rf"(?:\\(?:text|mathrm)\s*\{{\s*{re.escape(unit)}\s*\}}|{re.escape(unit)})"
    if unit_name(unit) == "degree":
        written = rf"(?:{_DEGREES}|{written})"
    bare = re.sub(rf"(?<![a-zA-Z]){written}(?=[\s.$]*$)", "", answer.strip())
    return re.sub(r"(?:\\,|\s)+$", "", bare)
