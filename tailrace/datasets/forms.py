"""Forms of rows: the columns that they are known by, and their conversion to a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tailrace.datasets.cells import Cells
from tailrace.datasets.columns import other_values
from tailrace.datasets.convert_answers import (
    add_system,
    align,
    read_alpaca_prompt,
    read_chat,
    read_expected,
    read_label,
    read_text,
)
from tailrace.datasets.convert_messages import with_system
from tailrace.datasets.convert_preference import (
    read_alpaca_pair,
    read_chat_pair,
    read_pair,
    read_preferred_outputs,
    read_transcripts,
)
from tailrace.datasets.convert_tools import drop_foreign_nulls, read_tools
from tailrace.datasets.draft import Draft
from tailrace.datasets.json_cells import parsed
from tailrace.formats.data.message import Role
from tailrace.formats.data.record import DatasetKind

Names = tuple[str, ...]
"""Names of columns that a field is read from unless a mapping says otherwise."""

_TRACE: Names = ("prompt", "steps", "answer", "id", "metadata")

_MEDIA = ("images", "image", "audios", "audio", "videos", "video")
"""Columns of media that belong to the messages of their rows."""

_SYSTEM: Mapping[str, Names] = {"system": ("system", "system_prompt")}

COMMON: Mapping[str, Names] = {
    "tools": ("tools", "functions"),
    "id": ("id",),
    "metadata": ("metadata",),
}
"""Optional fields of every form."""


@dataclass(frozen=True)
class Form:
    """One way in which rows of a kind are written."""

    kind: DatasetKind
    title: str
    """The form in words."""
    required: Mapping[str, Names]
    """Fields that every row has, with the columns that they are read from."""
    read: Callable[[Cells, Draft], None]
    """Conversion of a row to the content of a record."""
    optional: Mapping[str, Names] = field(default_factory=dict)
    is_weak: bool = False
    """True if rows of other forms often have its columns, too."""
    doubtful: Names = ()
    """Columns that a field is read from only if the user says the kind."""
    excluded: Names = ()
    """Columns that no row of the form has."""
    is_closed: bool = False
    """True if a row with other columns is of the form only if the user says so."""

    @property
    def fields(self) -> dict[str, Names]:
        """All fields with the columns that they are read from."""
        return {**self.required, **self.optional, **COMMON}


def _read_chat(cells: Cells, draft: Draft) -> None:
    read_chat(cells, draft, "messages")
    draft.content["messages"] = with_system(
        draft.content["messages"], cells.get("system"), cells.place("system"), "messages", draft
    )


def _read_completion(cells: Cells, draft: Draft) -> None:
    read_text(cells, "prompt", draft)
    _read_answer(cells, "completion", draft)


def _read_alpaca(cells: Cells, draft: Draft) -> None:
    read_alpaca_prompt(cells, draft)
    _read_answer(cells, "output", draft)


def _read_answer(cells: Cells, field: str, draft: Draft) -> None:
    read_text(cells, field, draft, "completion")
    add_system(cells, draft)
    align(draft, ("completion",))


def _read_plain_text(cells: Cells, draft: Draft) -> None:
    draft.content["prompt"] = ""
    read_text(cells, "text", draft, "completion")
    if isinstance(draft.content["completion"], list):
        draft.refuse(cells.place("text"), "must be text: messages go into the field messages")


def _read_feedback(cells: Cells, draft: Draft) -> None:
    _read_completion(cells, draft)
    read_label(cells, draft)


def _read_alpaca_feedback(cells: Cells, draft: Draft) -> None:
    _read_alpaca(cells, draft)
    read_label(cells, draft)


def _read_chat_feedback(cells: Cells, draft: Draft) -> None:
    """Read a conversation whose last message is the answer that the label is for."""
    _read_chat(cells, draft)
    messages = draft.content.pop("messages")
    origins = draft.origins.pop("messages", [])
    if not draft.violations and messages and messages[-1]["role"] != Role.ASSISTANT:
        problem = "must be of the assistant: the label is for the last message"
        draft.refuse(origins[-1].path, problem)
    for name, part in (("prompt", slice(0, -1)), ("completion", slice(-1, None))):
        draft.content[name], draft.origins[name] = messages[part], origins[part]
        draft.columns[name] = cells.place("messages")
    read_label(cells, draft)


def _read_prompt(cells: Cells, draft: Draft) -> None:
    read_text(cells, "prompt", draft)
    add_system(cells, draft)
    read_expected(cells, draft)


def _read_chat_prompt(cells: Cells, draft: Draft) -> None:
    read_chat(cells, draft, "prompt")
    add_system(cells, draft)
    read_expected(cells, draft)


def _read_trace(cells: Cells, draft: Draft) -> None:
    """Read a trace unchanged but for the columns of a mapping."""
    paths = {name: cells.paths[name] for name in _TRACE if name in cells.paths}
    draft.content = other_values(cells.row, paths.values())
    for name in paths:
        value = cells.get(name)
        draft.columns[name] = cells.place(name)
        if isinstance(value, str) and name in ("steps", "metadata"):
            value = parsed(value, cells.place(name), draft)
        if value is not None:
            draft.content[name] = value


def finish(cells: Cells, draft: Draft) -> None:
    """Add the tools; drop the null arguments that other tools have; refuse media."""
    for name in _MEDIA:
        if cells.row.get(name) and (name,) not in cells.dropped:
            way = f"--map drop={name} leaves them out"
            draft.refuse(name, f"only text can be imported, not {name}: {way}")
    value = cells.get("tools")
    if value is not None:
        draft.columns["tools"] = cells.place("tools")
        draft.content["tools"] = read_tools(value, cells.place("tools"), draft)
    tools = draft.content.get("tools", [])
    for name in draft.origins:
        if isinstance(draft.content.get(name), list):
            drop_foreign_nulls(draft.content[name], tools)


_PROMPT: Mapping[str, Names] = {"prompt": ("prompt",)}
_MESSAGES: Mapping[str, Names] = {"messages": ("messages", "conversations")}
_ALPACA: Mapping[str, Names] = {"instruction": ("instruction",)}
_ALPACA_MORE: Mapping[str, Names] = {"input": ("input",), "history": ("history",), **_SYSTEM}
_PAIR: Mapping[str, Names] = {"chosen": ("chosen",), "rejected": ("rejected",)}
_EXPECTED: Mapping[str, Names] = {"expected_answer": ("expected_answer",)}
_COMPLETION: Mapping[str, Names] = {"completion": ("completion",)}
_OUTPUT: Mapping[str, Names] = {"output": ("output",)}
_TAG: Mapping[str, Names] = {"label": ("kto_tag", "label")}

FORMS: tuple[Form, ...] = (
    Form(DatasetKind.MESSAGES, "a conversation", _MESSAGES, _read_chat, _SYSTEM),
    Form(
        DatasetKind.COMPLETION,
        "a prompt with its completion",
        {**_PROMPT, **_COMPLETION},
        _read_completion,
        _SYSTEM,
    ),
    Form(
        DatasetKind.COMPLETION,
        "an instruction with its output, as Alpaca has them",
        {**_ALPACA, **_OUTPUT},
        _read_alpaca,
        _ALPACA_MORE,
    ),
    Form(
        DatasetKind.COMPLETION,
        "plain text",
        {"text": ("text",)},
        _read_plain_text,
        is_weak=True,
    ),
    Form(
        DatasetKind.PREFERENCE,
        "a prompt with two answers",
        {**_PROMPT, **_PAIR},
        read_pair,
        _SYSTEM,
    ),
    Form(
        DatasetKind.PREFERENCE,
        "an instruction with two answers",
        {**_ALPACA, **_PAIR},
        read_alpaca_pair,
        _ALPACA_MORE,
    ),
    Form(
        DatasetKind.PREFERENCE,
        "a conversation with two answers",
        {"messages": ("conversations",), **_PAIR},
        read_chat_pair,
        _SYSTEM,
    ),
    Form(
        DatasetKind.PREFERENCE,
        "two transcripts that share their prompt",
        _PAIR,
        read_transcripts,
        _SYSTEM,
    ),
    Form(
        DatasetKind.PREFERENCE,
        "an input with two outputs, as hosted APIs have them",
        {
            "input": ("input",),
            "preferred_output": ("preferred_output",),
            "non_preferred_output": ("non_preferred_output",),
        },
        read_preferred_outputs,
    ),
    Form(
        DatasetKind.FEEDBACK,
        "a prompt with a labelled completion",
        {**_PROMPT, **_COMPLETION, "label": ("label", "kto_tag")},
        _read_feedback,
        _SYSTEM,
    ),
    Form(
        DatasetKind.FEEDBACK,
        "an instruction with a labelled output",
        {**_ALPACA, **_OUTPUT, **_TAG},
        _read_alpaca_feedback,
        _ALPACA_MORE,
        doubtful=("label",),
    ),
    Form(
        DatasetKind.FEEDBACK,
        "a conversation whose last message is labelled",
        {**_MESSAGES, **_TAG},
        _read_chat_feedback,
        _SYSTEM,
        doubtful=("label",),
    ),
    Form(
        DatasetKind.PROMPTS,
        "a prompt with its expected answer",
        {**_PROMPT, **_EXPECTED},
        _read_prompt,
        _SYSTEM,
    ),
    Form(
        DatasetKind.PROMPTS,
        "a conversation to go on with, and the expected answer",
        {**_MESSAGES, **_EXPECTED},
        _read_chat_prompt,
        _SYSTEM,
    ),
    Form(
        DatasetKind.PROMPTS,
        "a prompt alone",
        _PROMPT,
        _read_prompt,
        {**_EXPECTED, **_SYSTEM},
        is_weak=True,
    ),
    Form(
        DatasetKind.PROMPTS,
        "a conversation to go on with",
        _MESSAGES,
        _read_chat_prompt,
        {**_EXPECTED, **_SYSTEM},
        is_weak=True,
    ),
    Form(
        DatasetKind.TRACE,
        "a prompt with reasoning steps and an answer",
        {**_PROMPT, "steps": ("steps",)},
        _read_trace,
        {"answer": ("answer",)},
    ),
    Form(
        DatasetKind.TRACE,
        "a prompt with an answer and nothing else",
        {**_PROMPT, "answer": ("answer",)},
        _read_trace,
        excluded=("steps",),
        is_closed=True,
    ),
)
"""All forms; of forms that fit alike, the earlier is named first."""
