"""Records of datasets and eval sets as the page shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from tailrace.console.content.lines import MAX_LINES
from tailrace.datasets.inspection.turns import texts_of, turns_of
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import LineErrors, parse_records
from tailrace.formats.data.record import SCHEMAS, DatasetKind, Record

SHOWN_LINES = 20
"""Number of lines on a page."""

MAX_TEXT = 20_000
"""Maximum number of characters of a text that a page shows."""


@dataclass(frozen=True)
class Part:
    """A text with the name of the one who says it."""

    speaker: str
    """Role, or key of the record."""
    text: str
    """Text, cut at :data:`MAX_TEXT`."""
    left_out: int = 0
    """Number of characters that were cut off."""


@dataclass(frozen=True)
class Sample:
    """One line."""

    line: int
    """Number of the line, from 1."""
    id: str
    """Id of the record; empty without one."""
    facts: Sequence[str]
    """Label, tools and metadata in a few words."""
    parts: Sequence[Part]
    """Texts in order."""


def offset_of(text: str) -> int:
    """Return the number of lines in front of a page's first one, as its URL has it.

    Raises:
        HTTPException: There is no such page.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) >= MAX_LINES:
        raise HTTPException(404)
    return int(text)


def dataset_samples(lines: Iterable[bytes], kind: DatasetKind, offset: int = 0) -> list[Sample]:
    """Return the records of lines; ``offset`` lines come before them.

    Raises:
        FormatError: A line is not a record of the kind.
    """
    errors = LineErrors()
    records = [
        _sample(number + offset, record)
        for number, record in parse_records(SCHEMAS[kind], lines, errors)
    ]
    errors.raise_any()
    return records


def eval_samples(lines: Iterable[bytes], offset: int = 0) -> list[Sample]:
    """Return the items of lines; ``offset`` lines come before them.

    Raises:
        FormatError: A line is not an eval item.
    """
    errors = LineErrors()
    samples = []
    for number, eval_item in parse_records(EvalItem, lines, errors):
        facts = [eval_item.category, eval_item.difficulty, eval_item.section]
        parts = [part(message.role.value, *texts_of(message)) for message in eval_item.messages]
        parts += [part("prompt", eval_item.prompt)] if eval_item.prompt else []
        parts += [part("expected answer", eval_item.shown_answer)] if eval_item.shown_answer else []
        parts += [part("also accepted", *eval_item.accepted_answers)] * bool(
            eval_item.accepted_answers
        )
        samples.append(Sample(number + offset, eval_item.id, [f for f in facts if f], parts))
    errors.raise_any()
    return samples


def part(speaker: str, *texts: str) -> Part:
    """Return texts, one after the other, as a part."""
    text = "\n".join(texts)
    return Part(speaker, text[:MAX_TEXT], max(0, len(text) - MAX_TEXT))


def _sample(line: int, record: Record) -> Sample:
    facts = [f"{name}={value}" for name, value in record.metadata.items()]
    names = [tool["function"]["name"] for tool in getattr(record, "tools", ())]
    if names:
        facts.insert(0, f"tools: {', '.join(names)}")
    if hasattr(record, "label"):
        facts.insert(0, f"label: {json.dumps(record.label)}")
    parts = []
    for turn in turns_of(record):
        speaker = turn.message.role.value if turn.part in ("", "prompt") else turn.part
        parts.append(part(speaker, *texts_of(turn.message)))
    expected = getattr(record, "expected_answer", None)
    if expected is not None:
        parts.append(part("expected answer", expected))
    return Sample(line, record.id or "", facts, parts)
