"""The judge of final answers: is what the text marks as its answer the expected one?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES
from training.judges.answers.extraction import find_answers, reading_for, right_answers
from training.judges.answers.normalization import normalize, plain
from training.judges.answers.numbers import last_number
from training.judges.answers.readings import Answer
from training.judges.answers.targets import Target
from training.judges.answers.votes import vote_of
from training.judges.base import Judgement, JudgeSetup, TextJudge

_PHRASE_START = re.compile(r"[:=]|\bis\b", re.IGNORECASE)
_SHOWN = 1000
_LONGEST_END = 1000


class AnswerCorrectnessJudge(TextJudge):
    """Compares the marked answer with the expected and accepted ones.

    A text that marks several differing answers is ambiguous and fails. Without a marker the whole
    text must be the answer. Numbers compare by value, within the item's tolerance and in its unit;
    dates by their day; lists without order, unless the prompt speaks of one.
    """

    name = "answer_correctness"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        self._markers = setup.spec.markers

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """See :class:`training.judges.base.TextJudge`."""
        right = right_answers(item)
        targets = [Target(Answer.right(answer), item) for answer in right]
        found = find_answers(text, reading_for(item, right, self._markers))
        marked = found[0].marked
        # What is said twice is read once.
        said = {
            each.text: Answer(each.text, marked=marked, paragraph=each.paragraph) for each in found
        }
        passed, reason = _decide(list(said.values()), targets, marked=marked)
        extracted = " | ".join(said) if marked else ""
        return Judgement(
            passed=passed,
            score=float(passed),
            reason=reason,
            extracted=extracted[:_SHOWN],
            evidence=", ".join(dict.fromkeys(each.evidence for each in found))[:_SHOWN],
            vote=vote_of(list(said.values()), targets),
            flexible=passed or _flexible(text, targets),
            marked=marked,
        )


def _decide(said: Sequence[Answer], targets: Sequence[Target], *, marked: bool) -> tuple[bool, str]:
    answers = list({answer.text: answer for answer in said}.values())
    where = "the marked answer" if marked else "the whole text, which marks no answer,"
    if not any(answer.text for answer in answers):
        return False, f"{where} is empty"
    hits = [next((t for t in targets if t.accepts(answer)), None) for answer in answers]
    if any(hits) and not all(hits):
        return False, f"ambiguous: the text marks {len(answers)} differing answers"
    if not any(hits):
        several = f"none of the {len(answers)} marked answers" if len(answers) > 1 else where
        return False, f"{several} is {'' if len(answers) > 1 else 'not '}the expected answer"
    lacking = [t for t, a in zip(hits, answers, strict=True) if t is not None and t.lacks_unit(a)]
    if len(lacking) == len(answers):
        return False, f"{where} lacks the unit {lacking[0].item.unit}"
    return True, f"{where} is the expected answer"


def _last_phrase(text: str) -> str:
    """The last line, from its last colon, equals sign or "is" on."""
    lines = text.strip().splitlines()
    return normalize(_PHRASE_START.split(lines[-1][-_LONGEST_END:])[-1]) if lines else ""


def _flexible(text: str, targets: Sequence[Target]) -> bool:
    last = last_number(plain(text[-_LONGEST_END:]))
    phrase = _last_phrase(text)
    for target in targets:
        if target.answer.quantity is not None:
            found = last is not None and target.is_near(last)
        else:
            found = bool(phrase) and phrase == target.answer.text
        if found:
            return True
    return False
