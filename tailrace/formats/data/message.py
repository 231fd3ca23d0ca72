"""Messages of a conversation, as chat templates take them."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.formats.schema import Violation, blank_violations, key

MAX_CONTENT = 1_000_000
"""Maximum length of a message's text, in characters."""

MAX_MESSAGES = 10_000
"""Maximum number of messages of a conversation."""

MAX_TOOLS = 1000
"""Maximum number of tools of a conversation, and of calls in a message."""

_NAME = r"[A-Za-z0-9_.:/-]+"


class Role(enum.StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    """Instructions that hold for the whole conversation."""
    DEVELOPER = "developer"
    """Instructions of the application, the newer name of `system`."""
    USER = "user"
    """The person who asks."""
    ASSISTANT = "assistant"
    """The model."""
    TOOL = "tool"
    """The result of a tool that the assistant called."""


_OWNERS = (
    ("reasoning_content", Role.ASSISTANT),
    ("tool_calls", Role.ASSISTANT),
    ("weight", Role.ASSISTANT),
    ("tool_call_id", Role.TOOL),
)
"""Keys of a message that only one role has."""


@dataclass(frozen=True)
class ToolFunction:
    """The function that a call names, with its arguments."""

    name: str = key("Name of the function.", minimum=1, max_length=128, pattern=_NAME)
    arguments: dict[str, Any] = key(
        "Arguments by name, as a JSON object.", default={}, max_length=1000, verbatim=True
    )


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool by the assistant."""

    function: ToolFunction = key("The function with its arguments.")
    id: str | None = key(
        "Id that the tool's result refers to.", default=None, minimum=1, max_length=256
    )
    type: str = key("Kind of call.", default="function", pattern="function", form="'function'")


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role = key("Author of the message.")
    content: str = key("The text.", default="", max_length=MAX_CONTENT)
    reasoning_content: str | None = key(
        "Thinking before the answer; assistant messages only.",
        default=None,
        max_length=MAX_CONTENT,
    )
    name: str | None = key(
        "Name of the author, or of the tool.", default=None, minimum=1, max_length=128
    )
    tool_calls: list[ToolCall] = key(
        "Calls of tools; assistant messages only.", default=[], max_length=MAX_TOOLS
    )
    tool_call_id: str | None = key(
        "Id of the call that this is the result of; tool messages only.",
        default=None,
        minimum=1,
        max_length=256,
    )
    weight: int | None = key(
        "0 to learn nothing from the message, 1 to learn it; assistant messages only.",
        default=None,
        minimum=0,
        maximum=1,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations: keys of other roles, and messages that say nothing."""
        violations = self._foreign_keys(path)
        says_nothing = not (self.tool_calls or self.reasoning_content)
        if self.role is Role.USER or (self.role is Role.ASSISTANT and says_nothing):
            violations += blank_violations(path, content=self.content)
        return violations

    def _foreign_keys(self, path: str) -> list[Violation]:
        prefix = f"{path}." if path else ""
        return [
            Violation(f"{prefix}{name}", f"is for {owner} messages only, not for {self.role}")
            for name, owner in _OWNERS
            if self.role is not owner and getattr(self, name) not in (None, [])
        ]


def tool_violations(path: str, tools: Sequence[dict[str, Any]]) -> list[Violation]:
    """Return the violations of tools that are not functions with a name.

    A tool is ``{"type": "function", "function": {"name": …, "parameters": JSON Schema}}``.
    """
    violations = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"{path}[{index}]"
        name = _tool_name(tool)
        if name is None:
            form = 'must be {"type": "function", "function": {"name": …, "parameters": {…}}}'
            violations.append(Violation(where, form))
        elif name in names:
            violations.append(Violation(f"{where}.function.name", f"{name[:100]!r} occurs twice"))
        else:
            names.add(name)
    return violations


def _tool_name(tool: dict[str, Any]) -> str | None:
    """Return the name of the function that a tool is; None of others."""
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        return None
    name = function.get("name")
    is_sound = isinstance(name, str) and name and isinstance(function.get("parameters", {}), dict)
    return str(name) if is_sound else None


def conversation_violations(
    path: str, messages: Sequence[Message], earlier: Sequence[Message] = ()
) -> list[Violation]:
    """Return the violations of tool results that no assistant message can have asked for.

    A call may be written in the text of a message, so results need not belong to ``tool_calls``.

    Args:
        path: Place of the messages.
        messages: The messages to check.
        earlier: Messages before them.
    """
    violations = []
    answers = [message for message in earlier if message.role is Role.ASSISTANT]
    ids = {call.id for message in answers for call in message.tool_calls if call.id is not None}
    is_asked = bool(answers)
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        if message.role is Role.ASSISTANT:
            is_asked = True
            ids |= {call.id for call in message.tool_calls if call.id is not None}
        elif message.role is Role.TOOL and not is_asked:
            violations.append(
                Violation(where, "must come after the assistant message that calls the tool")
            )
        elif message.tool_call_id is not None and ids and message.tool_call_id not in ids:
            problem = f"{message.tool_call_id[:100]!r} is not the id of an earlier call"
            violations.append(Violation(f"{where}.tool_call_id", problem))
    return violations


def transcript(messages: Sequence[Message]) -> str:
    """Return a conversation as text for people: ``role: content``, tool calls included."""
    return "\n".join(_line(message) for message in messages)


def call_text(call: ToolCall) -> str:
    """Return a call of a tool as text for people: ``name({"argument": …})``."""
    return f"{call.function.name}({json.dumps(call.function.arguments, ensure_ascii=False)})"


def _line(message: Message) -> str:
    calls = map(call_text, message.tool_calls)
    return f"{message.role}: {' '.join(filter(None, [message.content, *calls]))}"
