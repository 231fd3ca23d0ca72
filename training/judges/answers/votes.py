"""Votes for majorities: answers in a form in which equal answers are equal text."""

from __future__ import annotations

from collections.abc import Sequence

from training.judges.answers.readings import Answer, is_ordered
from training.judges.answers.targets import Target, choice

AMBIGUOUS = "(several answers)"
"""Vote of a text that gives different answers."""


def vote_of(answers: Sequence[Answer], targets: Sequence[Target]) -> str:
    """Return the vote of a text with these answers; ``targets`` are the right ones."""
    votes = {_vote(answer, targets) for answer in answers}
    return votes.pop() if len(votes) == 1 else AMBIGUOUS


def _vote(answer: Answer, targets: Sequence[Target]) -> str:
    # All accepted texts are the same answer; accepted numbers may merely be near each other.
    if any(target.answer.quantity is None and target.accepts(answer) for target in targets):
        return _canonical(targets[0].answer, targets[0])
    heads = [answer, *answer.heads(targets[0].item.question)]
    typed = (a for a in heads if a.quantity or a.day or choice(a, targets[0].item) is not None)
    return _canonical(next(typed, heads[-1]), targets[0])


def _canonical(answer: Answer, target: Target) -> str:
    option = choice(answer, target.item)
    if option is not None:
        return f"option {option}"
    if answer.quantity is not None:
        return target.in_its_unit(answer.quantity)
    if answer.day is not None:
        return str(answer.day)
    parts = answer.parts
    if len(parts) < 2:
        return answer.words
    elements = [_canonical(Answer(part), target) for part in parts]
    ordered = target.item.ordered or is_ordered(target.item.question, answer.text)
    return "; ".join(elements if ordered else sorted(elements))
