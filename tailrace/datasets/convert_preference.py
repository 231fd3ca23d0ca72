"""Pairs of a better and a worse answer: with a separate prompt, or as two transcripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tailrace.datasets.cells import Cells
from tailrace.datasets.convert_answers import (
    add_system,
    align,
    read_alpaca_prompt,
    read_chat,
    read_text,
)
from tailrace.datasets.convert_messages import read_messages
from tailrace.datasets.convert_tools import read_tools
from tailrace.datasets.draft import Draft
from tailrace.datasets.json_cells import present
from tailrace.formats.data.message import Role
from tailrace.formats.wording import describe

_ANSWERS = ("chosen", "rejected")

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
"""Beginning of a turn in the transcripts of Anthropic's data sets."""


def read_pair(cells: Cells, draft: Draft) -> None:
    """Read a prompt and two answers; answers may repeat the prompt."""
    read_text(cells, "prompt", draft)
    _read_answers(cells, draft)


def read_alpaca_pair(cells: Cells, draft: Draft) -> None:
    """Read an instruction and two answers."""
    read_alpaca_prompt(cells, draft)
    _read_answers(cells, draft)


def read_chat_pair(cells: Cells, draft: Draft) -> None:
    """Read a conversation and two messages that go on with it."""
    read_chat(cells, draft, "prompt")
    _read_answers(cells, draft)


def _read_answers(cells: Cells, draft: Draft) -> None:
    for name in _ANSWERS:
        read_text(cells, name, draft)
    if draft.violations:
        return
    transcripts = [name for name in _ANSWERS if _is_transcript(draft.content[name])]
    if len(transcripts) == 1:
        draft.refuse(
            draft.columns[transcripts[0]],
            "repeats the prompt, which the other answer does not: write both alike",
        )
    elif transcripts:
        _leave_out_prompt(draft)
    add_system(cells, draft)
    align(draft, _ANSWERS)


def _is_transcript(answer: Any) -> bool:
    return isinstance(answer, list) and bool(answer) and answer[0]["role"] in ("system", "user")


def _leave_out_prompt(draft: Draft) -> None:
    """Take the prompt from two transcripts; the one in a separate column must be in them."""
    prompt = draft.content["prompt"]
    _divide(draft)
    if draft.violations:
        return
    shared = draft.content["prompt"]
    if isinstance(prompt, list):
        is_repeated = shared[-len(prompt) :] == prompt
    else:
        is_repeated = prompt in [message.get("content") for message in shared]
    if not is_repeated:
        column = draft.columns["prompt"]
        draft.refuse(
            draft.columns["chosen"],
            f"begins with another prompt than {column}: --map drop={column} leaves that out",
        )


def read_transcripts(cells: Cells, draft: Draft) -> None:
    """Read two transcripts that begin with the same prompt."""
    for name in _ANSWERS:
        value = cells.get(name)
        place = draft.columns[name] = cells.place(name)
        if isinstance(value, str):
            value = _turns(value)
            if value is None:
                draft.refuse(
                    place,
                    "is text without a separate prompt: name the column of the prompt with "
                    "--map prompt=COLUMN, or write messages",
                )
        draft.content[name] = read_messages(value, place, name, draft) if value else []
        if value is None and not draft.violations:
            draft.refuse(place, "is required")
    if not draft.violations:
        _divide(draft)
        add_system(cells, draft)


def _turns(text: str) -> list[dict[str, str]] | None:
    """Return the messages of a transcript with ``Human:`` and ``Assistant:``; None of others."""
    before, *parts = _TURN.split(text)
    if before or not parts:
        return None
    names = {"Human": "user", "Assistant": "assistant"}
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": names[name], "content": content} for name, content in turns]


def _divide(draft: Draft) -> None:
    """Divide two transcripts into the prompt that they share and their answers."""
    chosen, rejected = (draft.content[name] for name in _ANSWERS)
    shared = 0
    for index, (message, other) in enumerate(zip(chosen, rejected, strict=False)):
        if index > 0 and message["role"] == other["role"] == Role.ASSISTANT:
            shared = index
        if message != other:
            break
    if shared == 0:
        draft.refuse(
            draft.columns["rejected"],
            f"must begin with the prompt of {draft.columns['chosen']}, followed by an assistant "
            "message",
        )
        return
    draft.content["prompt"] = chosen[:shared]
    draft.origins["prompt"] = draft.origins["chosen"][:shared]
    for name in _ANSWERS:
        draft.content[name] = draft.content[name][shared:]
        draft.origins[name] = draft.origins[name][shared:]


def read_preferred_outputs(cells: Cells, draft: Draft) -> None:
    """Read the preference format of hosted APIs: an input with messages and tools, two outputs."""
    value = cells.get("input")
    place = cells.place("input")
    if isinstance(value, Mapping) and "messages" in value:
        source = present(value)
        draft.content["prompt"] = read_messages(
            source.pop("messages", None), f"{place}.messages", "prompt", draft
        )
        tools = source.pop("tools", None)
        if tools is not None:
            draft.content["tools"] = read_tools(tools, f"{place}.tools", draft)
            draft.columns["tools"] = f"{place}.tools"
        draft.columns["prompt"] = f"{place}.messages"
        if source:
            draft.metadata[place] = source
    elif isinstance(value, (str, list, tuple)):
        read_text(cells, "input", draft, "prompt")
    else:
        draft.refuse(place, f"must be an object with messages, not {describe(value)}")
    read_text(cells, "preferred_output", draft, "chosen")
    read_text(cells, "non_preferred_output", draft, "rejected")
    if not draft.violations:
        align(draft, _ANSWERS)
