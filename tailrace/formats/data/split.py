"""The split of a dataset by prompt, so that no held-out prompt is trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.dataset_file import LazyRecords
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.message import Message, Role, transcript
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
)
from tailrace.formats.data.trace import Trace
from tailrace.formats.schema import SpecError, parse, to_mapping

TRAIN = "dataset:train"
"""Eval set: the prompts of the train part."""

HELD_OUT = "dataset:held_out"
"""Eval set: the held-out prompts."""


class EmptySplitError(ValueError):
    """A requested part of the split is empty; the message has the reason."""


class Part(LazyRecords):
    """Records of a dataset at given positions, in dataset order."""

    def __init__(self, records: Sequence[Record], positions: Iterable[int]) -> None:
        self._records = records
        self._positions = array("Q", positions)

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, index: int) -> Record:
        """Return the record at an index."""
        return self._records[self._positions[index]]


@dataclass(frozen=True)
class Split:
    """A dataset in two parts, in dataset order, with all records of a prompt in the same part."""

    train: Sequence[Record]
    held_out: Sequence[Record]
    eval_fraction: float
    split_seed: int

    def dump(self) -> str:
        """Return the content of ``split.json``: the split's settings and the held-out prompts.

        Prompts are split keys: see :attr:`tailrace.formats.data.trace.Trace.split_key`.
        """
        content = {
            "eval_fraction": self.eval_fraction,
            "split_seed": self.split_seed,
            "held_out": sorted({record.split_key for record in self.held_out}),
        }
        return canonical_json(content) + "\n"

    @classmethod
    def load(cls, records: Sequence[Record], text: str) -> Split:
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
        keys = [key if (key := record.split_key) in held_out else None for record in records]
        unknown = held_out - set(keys)
        if unknown:
            raise ValueError(
                f"split.json holds out {len(unknown)} prompts that the dataset lacks: "
                "it was made from another dataset"
            )
        return cls._divide(records, [key is not None for key in keys], fraction, seed)

    @classmethod
    def _divide(
        cls,
        records: Sequence[Record],
        is_held_out: Sequence[bool],
        eval_fraction: float,
        split_seed: int,
    ) -> Split:
        return cls(
            train=Part(records, (i for i, held_out in enumerate(is_held_out) if not held_out)),
            held_out=Part(records, (i for i, held_out in enumerate(is_held_out) if held_out)),
            eval_fraction=eval_fraction,
            split_seed=split_seed,
        )


def split_records(records: Sequence[Record], eval_fraction: float, split_seed: int) -> Split:
    """Hold out the first round(``eval_fraction`` · n) of the n distinct prompts.

    Prompts are ordered by the sha256 of the seed's decimal digits followed by the split key.

    Raises:
        EmptySplitError: ``eval_fraction`` leaves a part without prompts.
    """
    ranks = [_rank(split_seed, record.split_key) for record in records]
    distinct = sorted(set(ranks))
    count = round(eval_fraction * len(distinct))
    if eval_fraction > 0 and count == 0:
        raise EmptySplitError(
            f"eval_fraction {eval_fraction:g} of {len(distinct)} distinct prompts holds out none: "
            "raise eval_fraction, add records, or set it to 0"
        )
    if count >= len(distinct):
        raise EmptySplitError(
            f"eval_fraction {eval_fraction:g} of {len(distinct)} distinct prompts leaves none to "
            "train on: lower it or add records"
        )
    held_out = set(distinct[:count])
    return Split._divide(records, [rank in held_out for rank in ranks], eval_fraction, split_seed)


def eval_items(records: Iterable[Record]) -> list[EvalItem]:
    """Return one eval item per distinct question, in dataset order.

    A question is the prompt; of a conversation, all before its last assistant message. Records
    without one, such as plain text, give no item. The item's id and expected answer are those of
    the first record; different answers of later records are accepted as well. A preference expects
    its chosen answer, feedback an approved one. Traces alone mark their answers.
    """
    items: dict[str, EvalItem] = {}
    for record in records:
        if not has_question(record):
            continue
        eval_item = _eval_item(record)
        prompt = [eval_item.prompt, to_mapping(eval_item.messages), eval_item.tools]
        question = canonical_json(prompt)
        first = items.setdefault(question, eval_item)
        answer = eval_item.expected_answer
        if answer and answer not in (first.expected_answer, *first.accepted_answers):
            more = [*first.accepted_answers, answer]
            items[question] = dataclasses.replace(first, accepted_answers=more)
    return list(items.values())


def has_question(record: Record) -> bool:
    """Return True if a record can be asked: plain text and disapproved answers cannot."""
    if isinstance(record, FeedbackRecord) and not record.label:
        return False
    eval_item = _eval_item(record)
    return bool(eval_item.prompt or eval_item.messages)


def prompt_texts(records: Iterable[Record]) -> Iterator[str]:
    """Yield the prompts that a model sees in training, as text, to look for leaked eval items.

    A conversation has two: all before its first and before its last assistant message.
    """
    for record in records:
        if isinstance(record, ChatRecord):
            turns = [i for i, m in enumerate(record.messages) if m.role is Role.ASSISTANT]
            yield from {transcript(record.messages[:turn]) for turn in (turns[0], turns[-1])}
        else:
            yield record.prompt if isinstance(record.prompt, str) else transcript(record.prompt)


def _eval_item(record: Record) -> EvalItem:
    if record.id is None:
        raise ValueError("cannot make an eval item of a record without id: reading gives each one")
    category = record.metadata.get("case")
    identity = EvalItem(
        record.id,
        category=category if isinstance(category, str) else None,
        marked=isinstance(record, Trace),
    )
    match record:
        case Trace():
            return dataclasses.replace(
                identity, prompt=record.prompt, expected_answer=record.answer
            )
        case PromptRecord():
            answer: str | list[Message] = record.expected_answer or ""
        case PreferenceRecord():
            answer = record.chosen
        case CompletionRecord() | FeedbackRecord():
            answer = record.completion
        case ChatRecord():
            return _conversation_item(identity, record.messages, record.tools)
    if isinstance(record, PromptRecord):
        identity = _with_metadata(identity, record)
    if isinstance(record.prompt, str):
        text = answer if isinstance(answer, str) else ""
        return dataclasses.replace(
            identity, prompt=record.prompt, tools=record.tools, expected_answer=text
        )
    if isinstance(answer, str):
        return dataclasses.replace(
            identity, messages=record.prompt, tools=record.tools, expected_answer=answer
        )
    return _conversation_item(identity, [*record.prompt, *answer], record.tools)


def _with_metadata(identity: EvalItem, record: PromptRecord) -> EvalItem:
    """Return an item with the judges' fields that are in the metadata of a prompt.

    An imported file of eval items keeps them there. A value that no item can have is left there.
    """
    own = {"id", "prompt", "messages", "tools", "expected_answer", "marked"}
    names = {field.name for field in dataclasses.fields(EvalItem)} - own
    form = {"id": "i", "prompt": "p", "expected_answer": record.expected_answer}
    present = {name: record.metadata[name] for name in sorted(names & record.metadata.keys())}
    # All together, as a unit and its being required are; else those that are right alone.
    for fields in (present, *({name: value} for name, value in present.items())):
        with contextlib.suppress(SpecError):
            parsed = parse(EvalItem, {**form, **fields})
            changes = {name: getattr(parsed, name) for name in fields}
            identity = dataclasses.replace(identity, **changes)
    return identity


def _conversation_item(
    identity: EvalItem, messages: list[Message], tools: list[dict[str, Any]]
) -> EvalItem:
    """Return the item that asks for the last assistant message."""
    last = max(i for i, message in enumerate(messages) if message.role is Role.ASSISTANT)
    return dataclasses.replace(
        identity,
        messages=messages[:last],
        tools=tools,
        expected_answer=messages[last].content,
        expected_tool_calls=messages[last].tool_calls,
    )


def _rank(split_seed: int, prompt: str) -> bytes:
    return hashlib.sha256(f"{split_seed}{prompt}".encode()).digest()
