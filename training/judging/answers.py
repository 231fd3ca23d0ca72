"""What a judge is asked: the answers of each model role to each eval set, and which are missing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from training.errors import DataError
from training.evalsets import EvalSets

Key = tuple[str, str, ModelRole]
"""Eval set, item and role of an answer."""

Answers = dict[tuple[str, str, int], Prediction]
"""Answers by eval set, item and sample."""


@dataclass(frozen=True)
class Asked:
    """The answers of one role to one eval set."""

    eval_set: str
    role: ModelRole
    answers: Sequence[tuple[EvalItem, Prediction | int]]
    """Each with its item; the number of the sample for a missing one."""


def roles_of(predictions: Iterable[Prediction]) -> list[ModelRole]:
    """The model roles that occur, in a fixed order."""
    present = {prediction.model_role for prediction in predictions}
    return [role for role in ModelRole if role in present]


def group_by_item(
    predictions: Iterable[Prediction], eval_sets: EvalSets
) -> dict[Key, list[Prediction]]:
    """The predictions of each eval set, item and role.

    Raises :class:`training.errors.DataError` for unknown and repeated ones.
    """
    known = {(name, item.id) for name, items in eval_sets.items() for item in items}
    grouped: dict[Key, list[Prediction]] = {}
    seen: set[tuple[Key, int]] = set()
    for p in predictions:
        key = (p.eval_set, p.example_id, p.model_role)
        if (p.eval_set, p.example_id) not in known:
            raise DataError(
                f"the prediction {p.eval_set}/{p.example_id} is of no item judged here: there are "
                f"the eval sets {', '.join(eval_sets)}, named after their files, and each that "
                "the predictions name must be given"
            )
        if (key, p.sample) in seen:
            raise DataError(f"there are two predictions {p.eval_set}/{p.example_id}/{p.sample}")
        seen.add((key, p.sample))
        grouped.setdefault(key, []).append(p)
    return grouped


def others_of(
    by_item: Mapping[Key, list[Prediction]], baseline: Sequence[Prediction] | None
) -> Answers:
    """What a judge that compares puts beside each answer."""
    if baseline is None:
        own = itertools.chain.from_iterable(by_item.values())
        made = [p for p in own if p.model_role is ModelRole.BASE]
    else:
        # A run that trained is compared by what it trained.
        first = roles_of(baseline)[0]
        made = [p for p in baseline if p.model_role is first]
    return {
        (p.eval_set, p.example_id, p.sample): p
        for p in made
        if p.finish_reason is not FinishReason.ERROR
    }


def ask_all(
    eval_sets: EvalSets,
    predictions: Mapping[Key, list[Prediction]],
    roles: Iterable[ModelRole],
    n_samples: int | None,
) -> list[Asked]:
    """Every answer that there should be: ``n_samples`` of each item.

    Left out, that is the most that any item has.
    """
    wanted = n_samples or max(map(len, predictions.values()), default=1)
    return [
        Asked(
            name,
            role,
            [
                (i, p)
                for i in items
                for p in _filled(predictions.get((name, i.id, role), []), wanted)
            ],
        )
        for name, items in eval_sets.items()
        for role in roles
    ]


def _filled(found: Sequence[Prediction], wanted: int) -> list[Prediction | int]:
    """The samples of an item in their order, with the numbers of those it lacks."""
    there = {p.sample for p in found}
    free = (i for i in itertools.count() if i not in there)
    missing = itertools.islice(free, max(0, wanted - len(found)))
    return sorted([*found, *missing], key=lambda p: p if isinstance(p, int) else p.sample)
