"""Prompts and answers: text, or lists of messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.datasets.cells import Cells
from tailrace.datasets.convert_messages import read_messages, with_system
from tailrace.datasets.draft import Draft, Origin
from tailrace.datasets.json_cells import parsed
from tailrace.formats.data.message import Role
from tailrace.formats.wording import describe

_TRUE = frozenset({"true", "1", "yes", "desirable"})
_FALSE = frozenset({"false", "0", "no", "undesirable"})
"""Words for truth values in tables of text."""


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


def read_chat(cells: Cells, draft: Draft, into: str) -> None:
    """Read the field ``messages`` into a field of the record."""
    place = draft.columns[into] = cells.place("messages")
    draft.content[into] = read_messages(cells.get("messages"), place, into, draft)


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
    """Put the system message of a separate column before the prompt, which becomes messages."""
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


def truth(value: Any) -> bool | None:
    """Return a truth value that is written as such, as 1 or 0, or as a word; None for others."""
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def read_label(cells: Cells, draft: Draft) -> None:
    """Read the label of an answer: good or not."""
    value = cells.get("label")
    place = draft.columns["label"] = cells.place("label")
    draft.content["label"] = truth(value)
    if value is None:
        draft.refuse(place, "is required")
    elif draft.content["label"] is None:
        draft.refuse(place, f"must be true or false, or 1 or 0, not {describe(value)}")


def read_alpaca_prompt(cells: Cells, draft: Draft) -> None:
    """Read an instruction, with its input in a line below it, after a history of earlier turns."""
    draft.columns["prompt"] = cells.place("instruction")
    texts = []
    for field in ("instruction", "input"):
        text = cells.get(field)
        if text is not None and not isinstance(text, str):
            draft.refuse(cells.place(field), f"must be text, not {describe(text)}")
        elif text:
            texts.append(text)
    draft.content["prompt"] = "\n".join(texts)
    history = parsed(cells.get("history"), cells.place("history"), draft)
    if history:
        _add_history(history, cells.place("history"), draft)


def _add_history(history: Any, place: str, draft: Draft) -> None:
    """Put earlier turns, pairs of the user's and the assistant's text, before a prompt."""
    messages: list[dict[str, Any]] = []
    origins: list[Origin] = []
    for index, pair in enumerate(history if isinstance(history, (list, tuple)) else [history]):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            draft.refuse(f"{place}[{index}]", "must be a pair of the user's and the answer's text")
            continue
        for number, role in enumerate((Role.USER, Role.ASSISTANT)):
            messages.append({"role": role.value, "content": pair[number]})
            origins.append(Origin(f"{place}[{index}][{number}]", {"content": ""}))
    messages.append({"role": Role.USER.value, "content": draft.content["prompt"]})
    origins.append(Origin(draft.columns["prompt"], {"content": ""}))
    draft.content["prompt"] = messages
    draft.origins["prompt"] = origins


def read_expected(cells: Cells, draft: Draft) -> None:
    """Read an expected answer; a number becomes text."""
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
