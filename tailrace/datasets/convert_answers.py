"""Prompts and answers: text, or lists of messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.datasets.cells import Cells
from tailrace.datasets.convert_messages import read_messages, with_system
from tailrace.datasets.draft import Draft, Origin
from tailrace.formats.data.message import Role
from tailrace.formats.wording import describe

_TRUTH: dict[object, bool] = {
    **dict.fromkeys(("true", "1", "yes", "desirable"), True),
    **dict.fromkeys(("false", "0", "no", "undesirable"), False),
}
"""Truth values by their words in tables of text."""


def read_text(cells: Cells, field: str, draft: Draft, into: str = "") -> Any:
    """Read text, or messages, into a field of the record.

    Args:
        cells: The row.
        field: The field to read.
        draft: The record.
        into: The record's field (default: ``field``).
    """
    into = into or field
    value = cells.get(field)
    place = cells.place(field)
    draft.columns[into] = place
    if isinstance(value, (list, tuple, Mapping)):
        value = read_messages(value, place, into, draft)
    elif value is not None and not isinstance(value, str):
        draft.refuse(place, f"must be text or a list of messages, not {describe(value)}")
    elif value is None:
        draft.refuse(place, "is required")
    draft.content[into] = value
    return value


def align(draft: Draft, answers: tuple[str, ...]) -> None:
    """Write prompt and answers alike: as messages if any of them is."""
    fields = ("prompt", *answers)
    if not any(isinstance(draft.content.get(name), list) for name in fields):
        return
    for name in fields:
        text = draft.content.get(name)
        if isinstance(text, str):
            role = Role.USER if name == "prompt" else Role.ASSISTANT
            draft.content[name] = [{"role": role.value, "content": text}]
            draft.origins[name] = [Origin(draft.columns[name], {"content": ""})]


def add_system(cells: Cells, draft: Draft) -> None:
    """Put the system message of a column of its own before the prompt, which becomes messages."""
    system = cells.get("system")
    if system is None or system == "":
        return
    prompt = draft.content.get("prompt")
    if isinstance(prompt, str):
        origin = Origin(draft.columns.get("prompt", "prompt"), {"content": ""})
        prompt = [{"role": Role.USER.value, "content": prompt}]
        draft.origins["prompt"] = [origin]
    if isinstance(prompt, list):
        place = cells.place("system")
        draft.content["prompt"] = with_system(prompt, system, place, "prompt", draft)


def read_truth(cells: Cells, field: str, draft: Draft) -> None:
    """Read true or false, also as 1 or 0, or as their words in a table of text."""
    value = cells.get(field)
    draft.columns["label"] = cells.place(field)
    truth = value if isinstance(value, bool) else None
    if isinstance(value, (int, float)) and value in (0, 1):
        truth = bool(value)
    elif isinstance(value, str):
        truth = _TRUTH.get(value.strip().lower())
    if truth is None:
        problem = (
            "is required" if value is None else f"must be true or false, not {describe(value)}"
        )
        draft.refuse(cells.place(field), problem)
    draft.content["label"] = truth


def read_expected(cells: Cells, draft: Draft) -> None:
    """Read an expected answer; a number is kept as it is written."""
    value = cells.get("expected_answer")
    draft.columns["expected_answer"] = cells.place("expected_answer")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if value is not None and value != "":
            draft.content["expected_answer"] = value
        return
    try:
        draft.content["expected_answer"] = repr(value)
    except ValueError:
        draft.refuse(cells.place("expected_answer"), "is a number with thousands of digits")
