"""The split of a dataset by prompt, so that no held-out prompt is trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.trace import Trace

TRAIN = "dataset:train"
"""Eval set: the prompts of the train part."""

HELD_OUT = "dataset:held_out"
"""Eval set: the held-out prompts."""


class EmptySplitError(ValueError):
    """A requested part of the split is empty; the message has the reason."""


@dataclass(frozen=True)
class Split:
    """A dataset in two parts, in dataset order, with all traces of a prompt in the same part."""

    train: list[Trace]
    held_out: list[Trace]
    eval_fraction: float
    split_seed: int

    def dump(self) -> str:
        """Return the content of ``split.json``: the split's settings and the held-out prompts."""
        content = {
            "eval_fraction": self.eval_fraction,
            "split_seed": self.split_seed,
            "held_out": sorted({trace.prompt for trace in self.held_out}),
        }
        return canonical_json(content) + "\n"

    @classmethod
    def load(cls, traces: Sequence[Trace], text: str) -> Split:
        """Split a dataset by ``text``, the content of a ``split.json``.

        Raises:
            ValueError: The text is not a split, or belongs to another dataset.
        """
        content = json.loads(text)
        try:
            held_out, fraction, seed = (
                set(content["held_out"]),
                float(content["eval_fraction"]),
                int(content["split_seed"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"split.json lacks held_out, eval_fraction or split_seed: {error}"
            ) from error
        unknown = held_out - {trace.prompt for trace in traces}
        if unknown:
            raise ValueError(
                f"split.json holds out {len(unknown)} prompts that the dataset lacks: "
                "it was made from another dataset"
            )
        return cls._divide(traces, held_out, fraction, seed)

    @classmethod
    def _divide(
        cls, traces: Sequence[Trace], held_out: Set[str], eval_fraction: float, split_seed: int
    ) -> Split:
        return cls(
            train=[trace for trace in traces if trace.prompt not in held_out],
            held_out=[trace for trace in traces if trace.prompt in held_out],
            eval_fraction=eval_fraction,
            split_seed=split_seed,
        )


def split_traces(traces: Sequence[Trace], eval_fraction: float, split_seed: int) -> Split:
    """Hold out the first round(``eval_fraction`` · n) of the n distinct prompts.

    Prompts are ordered by the sha256 of the seed's decimal digits followed by the prompt.

    Raises:
        EmptySplitError: ``eval_fraction`` leaves a part without prompts.
    """
    prompts = sorted({trace.prompt for trace in traces}, key=lambda p: _rank(split_seed, p))
    count = round(eval_fraction * len(prompts))
    if eval_fraction > 0 and count == 0:
        raise EmptySplitError(
            f"eval_fraction {eval_fraction:g} of {len(prompts)} distinct prompts holds out none: "
            "raise eval_fraction, add traces, or set it to 0"
        )
    if count >= len(prompts):
        raise EmptySplitError(
            f"eval_fraction {eval_fraction:g} of {len(prompts)} distinct prompts leaves none to "
            "train on: lower it or add traces"
        )
    return Split._divide(traces, set(prompts[:count]), eval_fraction, split_seed)


def eval_items(traces: Iterable[Trace]) -> list[EvalItem]:
    """Return one eval item per distinct prompt, in dataset order.

    Its id and expected answer are those of the prompt's first trace; different answers of later
    traces are accepted as well.
    """
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.prompt, []).append(trace)
    return [_item(group) for group in groups.values()]


def _item(group: list[Trace]) -> EvalItem:
    first = group[0]
    if first.id is None:
        raise ValueError(
            "cannot make an eval item of a trace without id: parse_traces gives every trace one"
        )
    answers = list(dict.fromkeys(trace.answer for trace in group))
    category = first.metadata.get("case")
    return EvalItem(
        id=first.id,
        prompt=first.prompt,
        expected_answer=answers[0],
        accepted_answers=answers[1:],
        category=category if isinstance(category, str) else None,
    )


def _rank(split_seed: int, prompt: str) -> bytes:
    return hashlib.sha256(f"{split_seed}{prompt}".encode()).digest()
