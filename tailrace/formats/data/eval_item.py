"""Eval items: prompts with their right answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tailrace.formats.data.jsonl import LineErrors, file_lines, parse_records
from tailrace.formats.data.message import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Message,
    Role,
    ToolCall,
    call_text,
    conversation_violations,
    tool_violations,
    transcript,
)
from tailrace.formats.data.trace import MAX_TEXT
from tailrace.formats.schema import Violation, blank_violations, key, to_mapping

MAX_MARKERS = 100
"""Maximum number of markers of an item or a judge."""

MAX_MARKER = 100
"""Maximum length of a marker, in characters."""


@dataclass(frozen=True)
class EvalItem:
    """A prompt with its right answers: one line of an eval set file."""

    FORM: ClassVar[str] = '{"id": …, "prompt": …, "expected_answer": …}'

    id: str = key("Unique in its eval set.", minimum=1, max_length=128)
    prompt: str = key(
        "The prompt, up to 50,000 characters. Exactly one of `prompt` and `messages`.",
        default="",
        minimum=1,
        max_length=MAX_TEXT,
    )
    expected_answer: str = key(
        "The right answer; judges that compare with it need one.",
        default="",
        minimum=1,
        max_length=MAX_TEXT,
    )
    messages: list[Message] = key(
        "The conversation to go on with. Exactly one of `prompt` and `messages`.",
        default=[],
        max_length=MAX_MESSAGES,
    )
    tools: list[dict[str, Any]] = key(
        "Tools that the model may call, each a function with a JSON Schema.",
        default=[],
        max_length=MAX_TOOLS,
        verbatim=True,
    )
    expected_tool_calls: list[ToolCall] = key(
        "The right calls of tools, in any order.", default=[], max_length=MAX_TOOLS
    )
    accepted_answers: list[str] = key(
        "Further right answers.", default=[], minimum=1, max_length=1000
    )
    tolerance: float | None = key(
        "Largest accepted absolute difference of a numeric answer.", default=None, minimum=0
    )
    unit: str | None = key("The unit of the answer (`cm`).", default=None, minimum=1, max_length=64)
    unit_required: bool = key("True if an answer without its unit is wrong.", default=False)
    choices: list[str] = key(
        "The options of a multiple-choice question, in order.",
        default=[],
        minimum=1,
        max_length=1000,
    )
    ordered: bool = key(
        "True if the order of a list counts; otherwise any order is right.", default=False
    )
    markers: list[str] = key(
        "Further markers of an answer (`Antwort:`); they replace those of the judge.",
        default=[],
        minimum=1,
        max_length=MAX_MARKERS,
        item_length=MAX_MARKER,
    )
    last_marker: bool = key(
        "True if only the last marked answer counts; otherwise all must agree.",
        default=False,
    )
    marked: bool = key(
        "False if the whole answer is compared, word for word, without looking for a marker.",
        default=True,
    )
    category: str | None = key("Subject of the item.", default=None, minimum=1, max_length=64)
    difficulty: str | None = key("Difficulty of the item.", default=None, minimum=1, max_length=64)
    section: str | None = key(
        "Part of the set that the item belongs to (`edge_case`).",
        default=None,
        minimum=1,
        max_length=64,
    )

    @property
    def answers(self) -> list[str]:
        """The expected and the accepted answers; empty for an item that has none."""
        return [answer for answer in (self.expected_answer, *self.accepted_answers) if answer]

    @property
    def shown_answer(self) -> str:
        """Expected answer for people; expected calls of tools follow it."""
        calls = map(call_text, self.expected_tool_calls)
        return " ".join(filter(None, [self.expected_answer, *calls]))

    @property
    def question(self) -> str:
        """Text of the prompt; of a conversation, its last user message."""
        if self.prompt or not self.messages:
            return self.prompt
        texts = [message.content for message in self.messages if message.role is Role.USER]
        return texts[-1] if texts else self.messages[-1].content

    @property
    def shown_prompt(self) -> str:
        """Text of the prompt for people; of a conversation, its transcript."""
        return self.prompt or transcript(self.messages)

    def violations(self, path: str) -> list[Violation]:
        """Return the violations: blank texts, and keys that contradict each other."""
        prefix = f"{path}." if path else ""
        violations = self._prompt_violations(path) + self._tool_violations(prefix)
        if self.expected_answer:
            violations += blank_violations(path, expected_answer=self.expected_answer)
        violations += blank_violations(
            path,
            accepted_answers=self.accepted_answers,
            choices=self.choices,
            markers=self.markers,
        )
        if self.unit_required and self.unit is None:
            violations.append(Violation(f"{prefix}unit_required", "needs unit"))
        if self.choices and self.expected_answer not in self.choices:
            violations.append(
                Violation(f"{prefix}expected_answer", "is not the text of one of choices")
            )
        if not self.marked and (self.markers or self.last_marker):
            problem = "must be true for an item with markers or last_marker"
            violations.append(Violation(f"{prefix}marked", problem))
        return violations

    def _prompt_violations(self, path: str) -> list[Violation]:
        if not self.messages and not self.prompt:
            where = f"{path}.prompt" if path else "prompt"
            return [Violation(where, "is required, unless there are messages")]
        if not self.messages:
            return blank_violations(path, prompt=self.prompt)
        where = f"{path}.messages" if path else "messages"
        violations = conversation_violations(where, self.messages)
        if self.prompt:
            violations.append(Violation(where, "needs exactly one of prompt, messages; has both"))
        if self.messages[-1].role is Role.ASSISTANT:
            problem = "must end before the assistant's message that is asked for"
            violations.append(Violation(where, problem))
        return violations

    def _tool_violations(self, prefix: str) -> list[Violation]:
        violations = tool_violations(f"{prefix}tools", self.tools)
        names = {tool["function"]["name"] for tool in self.tools} if not violations else None
        for index, call in enumerate(self.expected_tool_calls):
            if names is not None and call.function.name not in names:
                where = f"{prefix}expected_tool_calls[{index}].function.name"
                problem = f"{call.function.name[:100]!r} is not the name of one of tools"
                violations.append(Violation(where, problem))
        return violations


def dump_item(eval_item: EvalItem) -> str:
    """Return an item as a line of JSON without unset keys.

    Unlike canonical JSON, it keeps the order of keys in tools and arguments, which chat templates
    write as they are.
    """
    content = {name: value for name, value in to_mapping(eval_item).items() if value != ""}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def scan_eval_items(lines: Iterable[bytes], errors: LineErrors) -> Iterator[EvalItem]:
    """Yield the items of an eval set file one by one; wrong lines go to ``errors``.

    A line is wrong if it is not JSON, not an item, or repeats the id of an earlier line. Input
    without any item is an error, too.
    """
    first_line: dict[str, int] = {}
    for number, item in parse_records(EvalItem, lines, errors):
        if item.id in first_line:
            errors.add(number, f"id: {item.id!r} is taken by line {first_line[item.id]}")
            continue
        first_line[item.id] = number
        yield item
    if not first_line and not errors.count:
        errors.add(1, "there is no eval item in the input")


def parse_eval_items(lines: Iterable[bytes]) -> list[EvalItem]:
    """Return the items of an eval set file.

    Raises:
        FormatError: Lines are wrong, as in :func:`scan_eval_items`; every one is named.
    """
    errors = LineErrors()
    items = list(scan_eval_items(lines, errors))
    errors.raise_any()
    return items


def read_eval_items(path: Path) -> list[EvalItem]:
    """Return the items of a file.

    Raises:
        FormatError: As :func:`parse_eval_items`.
        OSError: The file cannot be read.
    """
    return parse_eval_items(file_lines(path))
