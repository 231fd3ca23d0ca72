"""The judge `reasoning_quality`: the response must have steps that lead to its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES
from training.data.rendering import ParsedResponse, parse_response
from training.judges.answers.normalization import normalize
from training.judges.answers.numbers import number
from training.judges.base import JudgeSetup, TextJudge, TextVerdict

_NUMBER = r"-?\d{1,15}(?:,\d{3}){0,4}(?:\.\d{1,15})?"
_SUM = re.compile(
    rf"(?<![\w.])({_NUMBER})\s*([-+*/×÷−])\s*({_NUMBER})\s*=\s*({_NUMBER})(?![\w%]|\s*[-+*/×÷−^])"
)
# A sum within a longer one (1 + 2 + 3 = 6) proves nothing by itself.
_BEFORE = re.compile(r"[-+*/×÷−(^]\s*\Z")
_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "−": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "×": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "÷": lambda a, b: a / b,
}
_MOST_SUMS = 1000


@dataclass(frozen=True)
class _Check:
    name: str
    holds: bool


class ReasoningQualityJudge(TextJudge):
    """Scores structure, not truth, by the share of five checks that hold; passing needs all five.

    There are steps before the answer; an answer is marked; no step is repeated; every sum that can
    be read in the steps is right, to the digits it gives; the last steps contain the answer.
    """

    name = "reasoning_quality"
    version = JUDGES[name]
    reads_thinking = True

    def __init__(self, setup: JudgeSetup) -> None:
        del setup  # this judge has no options

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        response = parse_response(text)
        wrong = _wrong_sums(response)
        checks = [
            _Check("has no steps", bool(response.steps)),
            _Check("marks no answer", bool(response.answer)),
            _Check("repeats a step", _distinct([step.content for step in response.steps])),
            _Check(f"says that {', '.join(wrong[:3])}", not wrong),
            _Check("does not lead to its answer", _leads(response)),
        ]
        broken = [check.name for check in checks if not check.holds]
        return TextVerdict(
            passed=not broken,
            # Without steps, the checks of steps hold trivially and count for nothing.
            score=sum(check.holds for check in checks) / len(checks) if response.steps else 0.0,
            reason=f"the response {'; '.join(broken)}" if broken else "the steps hold together",
            extracted=response.answer[:1000],
            evidence=f"{len(response.steps)} steps",
            marked=bool(response.answer),
        )


def _distinct(steps: Sequence[str]) -> bool:
    plain = [normalize(step) for step in steps]
    return len(set(plain)) == len(plain)


def _leads(response: ParsedResponse) -> bool:
    """Return whether one of the last two steps contains the answer as a whole word."""
    answer = normalize(response.answer)
    if not answer:
        return False
    last = " ".join(normalize(step.content) for step in response.steps[-2:])
    return re.search(rf"(?<![\w.]){re.escape(answer)}(?![\w]|\.\d)", last) is not None


def _wrong_sums(response: ParsedResponse) -> list[str]:
    text = "\n".join(step.content for step in response.steps)
    wrong = []
    for match, _ in zip(_SUM.finditer(text), range(_MOST_SUMS), strict=False):
        left, right, total = (number(match[i].replace("−", "-")) for i in (1, 3, 4))
        if left is None or right is None or total is None:
            continue
        if _BEFORE.search(text, max(0, match.start() - 4), match.start()):
            continue
        if match[2] in "/÷" and not right:
            wrong.append(match.group())
            continue
        places = len(match[4].partition(".")[2])
        difference = abs(_OPERATIONS[match[2]](left, right) - total)
        # 10 / 3 = 3.33 is right to the digits it gives.
        if difference > (Fraction(1, 2 * 10**places) if places else 0):
            wrong.append(match.group())
    return wrong
