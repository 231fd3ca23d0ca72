"""Forms of rows: the columns that they are known by, and their conversion to a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tailrace.datasets.cells import Cells
from tailrace.datasets.convert_answers import (
    add_system,
    align,
    read_text,
)
from tailrace.datasets.convert_messages import read_messages, with_system
from tailrace.datasets.convert_tools import drop_foreign_nulls, read_tools
from tailrace.datasets.draft import Draft
from tailrace.formats.data.record import DatasetKind

Names = tuple[str, ...]
"""Names of columns that a field is read from unless a mapping says otherwise."""

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

    @property
    def fields(self) -> dict[str, Names]:
        """All fields with the columns that they are read from."""
        return {**self.required, **self.optional, **COMMON}


def _read_chat(cells: Cells, draft: Draft) -> None:
    place = cells.place("messages")
    draft.columns["messages"] = place
    messages = read_messages(cells.get("messages"), place, "messages", draft)
    draft.content["messages"] = with_system(
        messages, cells.get("system"), cells.place("system"), "messages", draft
    )


def _read_completion(cells: Cells, draft: Draft) -> None:
    read_text(cells, "prompt", draft)
    read_text(cells, "completion", draft)
    add_system(cells, draft)
    align(draft, ("completion",))


def _read_plain_text(cells: Cells, draft: Draft) -> None:
    draft.content["prompt"] = ""
    read_text(cells, "text", draft, "completion")


def finish(cells: Cells, draft: Draft) -> None:
    """Add the tools; drop the null arguments that other tools have."""
    draft.columns["tools"] = cells.place("tools")
    tools = read_tools(cells.get("tools"), cells.place("tools"), draft)
    if tools:
        draft.content["tools"] = tools
    for name in draft.origins:
        if isinstance(draft.content.get(name), list):
            drop_foreign_nulls(draft.content[name], tools)


FORMS: tuple[Form, ...] = (
    Form(
        DatasetKind.MESSAGES,
        "a conversation",
        {"messages": ("messages", "conversations")},
        _read_chat,
        _SYSTEM,
    ),
    Form(
        DatasetKind.COMPLETION,
        "a prompt with its completion",
        {"prompt": ("prompt",), "completion": ("completion",)},
        _read_completion,
        _SYSTEM,
    ),
    Form(
        DatasetKind.COMPLETION,
        "plain text",
        {"text": ("text",)},
        _read_plain_text,
        is_weak=True,
    ),
)
"""All forms; of forms that fit alike, the earlier is named first."""
