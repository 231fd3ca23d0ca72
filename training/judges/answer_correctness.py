"""The judge `answer_correctness`: the marked answer must be the expected one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES
from training.judges.answers.extraction import extraction_rules, find_answers, right_answers
from training.judges.answers.normalization import normalize, plain
from training.judges.answers.numbers import last_number
from training.judges.answers.readings import Answer
from training.judges.answers.targets import Target
from training.judges.answers.votes import vote_of
from training.judges.base import JudgeSetup, TextJudge, TextVerdict, require_answer

_PHRASE_START = re.compile(r"[:=]|\bis\b", re.IGNORECASE)
_SHOWN = 1000
_LONGEST_END = 1000


class AnswerCorrectnessJudge(TextJudge):
    """Compares the marked answer with the expected and accepted ones.

    A text that marks several different answers is ambiguous and fails. Without a marker the whole
    text must be the answer, as always for an item with ``marked: false``. Numbers compare by value,
    within the item's tolerance and in its unit; dates by their day; lists without order, unless the
    prompt asks for one.
    """

    name = "answer_correctness"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        self._markers = setup.spec.markers

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        require_answer(item)
        right = right_answers(item, self._markers)
        targets = [Target(Answer.right(answer), item) for answer in right]
        rules = extraction_rules(item, right, self._markers)
        extracted_answers = find_answers(text, rules)
        marked = extracted_answers[0].marked
        # Each distinct text is read once.
        answers = {
            extracted.text: Answer(extracted.text, marked=marked, paragraph=extracted.paragraph)
            for extracted in extracted_answers
        }
        evidence = dict.fromkeys(extracted.evidence for extracted in extracted_answers)
        where = "the marked answer" if marked else "the whole text, which marks no answer,"
        passed, reason = _decide(
            list(answers.values()), targets, where if rules.reads_markers else "the answer"
        )
        return TextVerdict(
            passed=passed,
            score=float(passed),
            reason=reason,
            extracted=" | ".join(answers)[:_SHOWN] if marked or not rules.reads_markers else "",
            evidence=", ".join(evidence)[:_SHOWN],
            vote=vote_of(list(answers.values()), targets),
            flexible=passed or _flexible(text, targets) if rules.reads_markers else None,
            marked=marked if rules.reads_markers else None,
        )


def _decide(answers: Sequence[Answer], targets: Sequence[Target], where: str) -> tuple[bool, str]:
    answers = list({answer.text: answer for answer in answers}.values())
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
    """Return the end of the last line, after its last colon, equals sign or "is"."""
    lines = text.strip().splitlines()
    return normalize(_PHRASE_START.split(lines[-1][-_LONGEST_END:])[-1]) if lines else ""


def _flexible(text: str, targets: Sequence[Target]) -> bool:
    last = last_number(plain(text[-_LONGEST_END:]))
    phrase = _last_phrase(text)
    for target in targets:
        if target.answer.quantity is not None:
            is_right = last is not None and target.is_near(last)
        else:
            is_right = bool(phrase) and phrase == target.answer.text
        if is_right:
            return True
    return False
