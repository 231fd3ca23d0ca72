"""Dataset records: one schema for each kind of dataset."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.message import (
    MAX_CONTENT,
    MAX_MESSAGES,
    MAX_TOOLS,
    Message,
    Role,
    conversation_violations,
    tool_violations,
)
from tailrace.formats.data.trace import Trace
from tailrace.formats.schema import Violation, blank_violations, key, to_mapping

MAX_METADATA = 1000
"""Maximum number of fields in a record's metadata."""

Text: TypeAlias = str | list[Message]
"""Text, or a list of messages."""


class DatasetKind(enum.StrEnum):
    """The kind of records in a dataset; all records of a dataset have the same."""

    MESSAGES = "messages"
    """Conversations: `{messages: [{role, content, …}], tools?}`."""
    COMPLETION = "completion"
    """Prompts with the answer to learn: `{prompt, completion}`."""
    PREFERENCE = "preference"
    """Prompts with a better and a worse answer: `{prompt, chosen, rejected}`."""
    FEEDBACK = "feedback"
    """Answers with a thumb up or down: `{prompt, completion, label}`."""
    PROMPTS = "prompts"
    """Prompts without an answer to learn: `{prompt, expected_answer?}`."""
    TRACE = "trace"
    """Prompts with reasoning steps and a final answer: `{prompt, steps, answer}`."""


def _id() -> Any:
    doc = "Unique in its dataset; without one, the kind and the line number."
    return key(doc, default=None, minimum=1, max_length=128)


def _metadata() -> Any:
    doc = "Free JSON values by name."
    return key(doc, default={}, max_length=MAX_METADATA, verbatim=True)


def _tools() -> Any:
    doc = "Tools that the assistant may call, each a function with a JSON Schema."
    return key(doc, default=[], max_length=MAX_TOOLS, verbatim=True)


def _text(doc: str) -> Any:
    return key(doc, max_length=MAX_CONTENT, item_length=MAX_MESSAGES)


@dataclass(frozen=True)
class ChatRecord:
    """A conversation: one line of a dataset of the kind `messages`."""

    FORM: ClassVar[str] = '{"messages": [{"role": "user", "content": …}, …]}'

    messages: list[Message] = key("The conversation in order.", max_length=MAX_MESSAGES)
    tools: list[dict[str, Any]] = _tools()
    id: str | None = _id()
    metadata: dict[str, Any] = _metadata()

    @property
    def split_key(self) -> str:
        """Key that records of the same prompt share: all before the first assistant message.

        A greeting of the assistant, before any user message, belongs to the prompt.
        """
        roles = [message.role for message in self.messages]
        question = roles.index(Role.USER) if Role.USER in roles else 0
        first = (
            roles.index(Role.ASSISTANT, question) if Role.ASSISTANT in roles[question:] else None
        )
        return _key(self.messages[:first] or self.messages)

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of the conversation and its tools."""
        violations = _conversation_problems(path, "messages", self.messages)
        if self.messages and not any(m.role is Role.ASSISTANT for m in self.messages):
            nothing = "has no assistant message: there is nothing to learn"
            violations.append(Violation(_join(path, "messages"), nothing))
        return violations + tool_violations(_join(path, "tools"), self.tools)


@dataclass(frozen=True)
class CompletionRecord:
    """A prompt with the answer to learn: one line of a dataset of the kind `completion`.

    An empty prompt makes it plain text, which is learnt whole.
    """

    FORM: ClassVar[str] = '{"prompt": …, "completion": …}'

    prompt: str | list[Message] = _text("The prompt, as text or messages.")
    completion: str | list[Message] = _text("The answer, as text or messages.")
    tools: list[dict[str, Any]] = _tools()
    id: str | None = _id()
    metadata: dict[str, Any] = _metadata()

    @property
    def split_key(self) -> str:
        """Key that records of the same prompt share; the text if there is no prompt."""
        return _key(self.prompt or self.completion)

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of prompt, answer and tools."""
        prompt = [] if self.prompt == "" else _prompt_problems(path, self.prompt)
        answers = _answer_problems(path, self.prompt, completion=self.completion)
        return prompt + answers + tool_violations(_join(path, "tools"), self.tools)


@dataclass(frozen=True)
class PreferenceRecord:
    """A prompt with two answers: one line of a dataset of the kind `preference`."""

    FORM: ClassVar[str] = '{"prompt": …, "chosen": …, "rejected": …}'

    prompt: str | list[Message] = _text("The prompt, as text or messages.")
    chosen: str | list[Message] = _text("The better answer, as text or messages.")
    rejected: str | list[Message] = _text("The worse answer, as text or messages.")
    tools: list[dict[str, Any]] = _tools()
    id: str | None = _id()
    metadata: dict[str, Any] = _metadata()

    @property
    def split_key(self) -> str:
        """Key that records of the same prompt share."""
        return _key(self.prompt)

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of prompt, answers and tools; the answers must differ."""
        violations = _prompt_problems(path, self.prompt)
        answers = {"chosen": self.chosen, "rejected": self.rejected}
        violations += _answer_problems(path, self.prompt, **answers)
        if self.chosen == self.rejected:
            violations.append(Violation(_join(path, "rejected"), "is the same as chosen"))
        return violations + tool_violations(_join(path, "tools"), self.tools)


@dataclass(frozen=True)
class FeedbackRecord:
    """An answer that was approved or not: one line of a dataset of the kind `feedback`."""

    FORM: ClassVar[str] = '{"prompt": …, "completion": …, "label": true}'

    prompt: str | list[Message] = _text("The prompt, as text or messages.")
    completion: str | list[Message] = _text("The answer, as text or messages.")
    label: bool = key("True if the answer is good.")
    tools: list[dict[str, Any]] = _tools()
    id: str | None = _id()
    metadata: dict[str, Any] = _metadata()

    @property
    def split_key(self) -> str:
        """Key that records of the same prompt share."""
        return _key(self.prompt)

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of prompt, answer and tools."""
        violations = _prompt_problems(path, self.prompt)
        violations += _answer_problems(path, self.prompt, completion=self.completion)
        return violations + tool_violations(_join(path, "tools"), self.tools)


@dataclass(frozen=True)
class PromptRecord:
    """A prompt: one line of a dataset of the kind `prompts`."""

    FORM: ClassVar[str] = '{"prompt": …}'

    prompt: str | list[Message] = _text("The prompt, as text or messages.")
    expected_answer: str | None = key(
        "The right answer, for rewards and judges.",
        default=None,
        minimum=1,
        max_length=MAX_CONTENT,
    )
    tools: list[dict[str, Any]] = _tools()
    id: str | None = _id()
    metadata: dict[str, Any] = _metadata()

    @property
    def split_key(self) -> str:
        """Key that records of the same prompt share."""
        return _key(self.prompt)

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of prompt and tools."""
        violations = _prompt_problems(path, self.prompt)
        return violations + tool_violations(_join(path, "tools"), self.tools)


Record: TypeAlias = (
    ChatRecord | CompletionRecord | PreferenceRecord | FeedbackRecord | PromptRecord | Trace
)
"""A record of any kind. Each has an ``id``, a ``split_key`` and ``metadata``."""

SCHEMAS: dict[DatasetKind, type[Record]] = {
    DatasetKind.MESSAGES: ChatRecord,
    DatasetKind.COMPLETION: CompletionRecord,
    DatasetKind.PREFERENCE: PreferenceRecord,
    DatasetKind.FEEDBACK: FeedbackRecord,
    DatasetKind.PROMPTS: PromptRecord,
    DatasetKind.TRACE: Trace,
}
"""The schema of each kind's records."""

_KINDS: tuple[tuple[DatasetKind, frozenset[str]], ...] = (
    (DatasetKind.MESSAGES, frozenset({"messages"})),
    (DatasetKind.PREFERENCE, frozenset({"chosen", "rejected"})),
    (DatasetKind.FEEDBACK, frozenset({"completion", "label"})),
    (DatasetKind.COMPLETION, frozenset({"completion"})),
    (DatasetKind.TRACE, frozenset({"steps"})),
    (DatasetKind.TRACE, frozenset({"answer"})),
    (DatasetKind.PROMPTS, frozenset({"prompt"})),
)
"""Keys that tell the kind of a canonical line; the first entry whose keys are all present wins."""


def kind_of(line: object) -> DatasetKind | None:
    """Return the kind of a canonical line by its keys; None for a line of no kind."""
    if not isinstance(line, dict):
        return None
    return next((kind for kind, keys in _KINDS if keys <= line.keys()), None)


def dump_line(record: Record) -> str:
    """Return a record as a line of JSON without unset keys.

    Unlike canonical JSON, it keeps the order of keys in tools and arguments, which chat templates
    write as they are.
    """
    content = to_mapping(record)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _key(prompt: Text) -> str:
    return canonical_json(to_mapping(prompt))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _prompt_problems(path: str, prompt: Text) -> list[Violation]:
    if isinstance(prompt, str):
        return blank_violations(path, prompt=prompt)
    return _conversation_problems(path, "prompt", prompt)


def _conversation_problems(path: str, name: str, messages: Sequence[Message]) -> list[Violation]:
    where = _join(path, name)
    if not messages:
        return [Violation(where, "must have at least one message")]
    return conversation_violations(where, messages)


def _answer_problems(path: str, prompt: Text, **answers: Text) -> list[Violation]:
    violations = []
    for name, answer in answers.items():
        where = _join(path, name)
        if isinstance(answer, str):
            # A string goes with a prompt of text, a list with a prompt of messages.
            violations += blank_violations(path, **{name: answer})
            mixed = isinstance(prompt, list)
        else:
            mixed = isinstance(prompt, str)
            earlier = prompt if isinstance(prompt, list) else []
            violations += conversation_violations(where, answer, earlier)
            if not answer or answer[0].role is not Role.ASSISTANT:
                beginning = "must begin with an assistant message: what precedes it is the prompt"
                violations.append(Violation(where, beginning))
        if mixed:
            form = "text" if isinstance(prompt, str) else "a list of messages"
            violations.append(Violation(where, f"must be {form}, as the prompt is"))
    return violations
