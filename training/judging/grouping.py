"""Predictions grouped for judging: by eval set, item and model role, with the missing ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from training.errors import DataError
from training.evalsets import EvalSets

ItemKey = tuple[str, str, ModelRole]
"""Eval set, item and model role of a prediction."""

SampleKey = tuple[str, str, int]
"""Eval set, item and sample of a prediction."""


@dataclass(frozen=True)
class ExpectedPredictions:
    """The predictions that one model role should have for one eval set."""

    eval_set: str
    role: ModelRole
    samples: Sequence[tuple[EvalItem, Prediction | int]]
    """Eval items with their predictions; the sample's number stands for a missing one."""


def model_roles(predictions: Iterable[Prediction]) -> list[ModelRole]:
    """Return the model roles that occur, in a fixed order."""
    present = {prediction.model_role for prediction in predictions}
    return [role for role in ModelRole if role in present]


def group_by_item(
    predictions: Iterable[Prediction], eval_sets: EvalSets
) -> dict[ItemKey, list[Prediction]]:
    """Return the predictions of each eval set, item and model role.

    Raises:
        DataError: A prediction is for an unknown item, or occurs twice.
    """
    items = {(name, item.id) for name, items in eval_sets.items() for item in items}
    grouped: dict[ItemKey, list[Prediction]] = {}
    samples: set[tuple[ItemKey, int]] = set()
    for p in predictions:
        key = (p.eval_set, p.example_id, p.model_role)
        if (p.eval_set, p.example_id) not in items:
            raise DataError(
                f"the prediction {p.eval_set}/{p.example_id} is for an item that is not judged "
                f"here: the eval sets, named after their files, are {', '.join(eval_sets)}; give "
                "every eval set that the predictions name"
            )
        if (key, p.sample) in samples:
            raise DataError(f"there are two predictions {p.eval_set}/{p.example_id}/{p.sample}")
        samples.add((key, p.sample))
        grouped.setdefault(key, []).append(p)
    return grouped


def comparison_predictions(
    by_item: Mapping[ItemKey, list[Prediction]], baseline: Sequence[Prediction] | None
) -> dict[SampleKey, Prediction]:
    """Return the predictions that a comparing judge holds against those to judge.

    They are another run's (``baseline``), else the base model's. Errors are left out.
    """
    if baseline is None:
        predictions = itertools.chain.from_iterable(by_item.values())
        opponents = [p for p in predictions if p.model_role is ModelRole.BASE]
    else:
        # The trained model stands for a run that trained one.
        role = model_roles(baseline)[0]
        opponents = [p for p in baseline if p.model_role is role]
    return {
        (p.eval_set, p.example_id, p.sample): p
        for p in opponents
        if p.finish_reason is not FinishReason.ERROR
    }


def expected_predictions(
    eval_sets: EvalSets,
    by_item: Mapping[ItemKey, list[Prediction]],
    roles: Iterable[ModelRole],
    n_samples: int | None,
) -> list[ExpectedPredictions]:
    """Return the predictions that there should be, by eval set and role.

    Each item should have ``n_samples`` of them (default: the largest number that any item has).
    """
    per_item = n_samples or max(map(len, by_item.values()), default=1)
    return [
        ExpectedPredictions(
            name,
            role,
            [
                (item, sample)
                for item in items
                for sample in _with_missing(by_item.get((name, item.id, role), []), per_item)
            ],
        )
        for name, items in eval_sets.items()
        for role in roles
    ]


def _with_missing(predictions: Sequence[Prediction], count: int) -> list[Prediction | int]:
    """Return an item's samples in order, with numbers for those that it lacks of ``count``."""
    present = {p.sample for p in predictions}
    unused = (i for i in itertools.count() if i not in present)
    missing = itertools.islice(unused, max(0, count - len(predictions)))
    return sorted([*predictions, *missing], key=lambda p: p if isinstance(p, int) else p.sample)
