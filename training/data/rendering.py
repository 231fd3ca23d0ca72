"""Rendering of traces as text, the same for training and evaluation.

The prompt is rendered by a chat template that is saved with the model, so that later users prompt
the model as in its training; a model with its own template keeps it. The response is plain text:
the reasoning steps, a line each, then the answer after a marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from tailrace.formats.data.trace import Step, Trace
from training.data.chat_template import ChatTemplate, RenderJob, render_template

if TYPE_CHECKING:
    # Judges read responses, and must not wait for this import.
    from transformers import PreTrainedTokenizerBase

ANSWER_MARKER = "Answer:"
"""Prefix of the last line of a response."""

GENERATED_STEP = "generated"
"""Type of the steps parsed from a model's output."""

CHAT_TEMPLATE = (
    "{% if tools %}{{ 'Tools: ' + tools | tojson + '\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant:\\n' }}"
    "{% if message['reasoning_content'] %}"
    "{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}"
    "{% endif %}"
    "{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}"
    """{{ '<tool_call>{"name": ' + call['function']['name'] | tojson + ', "arguments": ' }}"""
    "{{ call['function']['arguments'] | tojson + '}</tool_call>' }}"
    "{% endfor %}"
    "{{ eos_token + '\\n' }}"
    "{% else %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] + '\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
"""Template for models without one; see :func:`training.data.tokenizer.template_for`."""


@dataclass(frozen=True)
class ParsedResponse:
    """A model's output, parsed."""

    steps: list[Step]
    """Lines before the answer."""
    answer: str
    """Text after the last answer marker; empty without a marker."""


def chat_template_of(
    tokenizer: PreTrainedTokenizerBase,
    clock: date | None = None,
    variables: Mapping[str, Any] | None = None,
    *,
    tools: bool = False,
) -> ChatTemplate:
    """Return the chat template of a model.

    Args:
        tokenizer: Tokenizer with the chat template.
        clock: The day that ``strftime_now`` returns, at midnight (default: today, UTC).
        variables: Further variables that the template reads, such as ``enable_thinking``
            (default: none, so that the template's own defaults hold).
        tools: True for the template of conversations with tools, if the model has one.
    """
    text = str(tokenizer.get_chat_template(tools=[{}] if tools else None))
    return ChatTemplate(
        text,
        clock or today(),
        tokenizer.special_tokens_map,
        variables or {},
        trusted=text == CHAT_TEMPLATE,
    )


def render_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    clock: date | None = None,
    *,
    asks: bool,
) -> str:
    """Return a conversation as rendered by the model's chat template.

    Args:
        tokenizer: Tokenizer with the chat template.
        messages: The conversation; each message has a ``role`` and a ``content``.
        clock: As in :func:`chat_template_of`.
        asks: True if the text ends with the begin of the assistant's turn.

    Raises:
        ModelConfigError: The template refuses the conversation, cannot render it, or exceeds a
            limit of time or memory.
    """
    return render_template(chat_template_of(tokenizer, clock), RenderJob(messages, asks=asks))


def render_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, clock: date | None = None
) -> str:
    """Return the text of a prompt, up to the begin of the answer; see :func:`render_messages`."""
    return render_messages(tokenizer, [{"role": "user", "content": prompt}], clock, asks=True)


def today() -> date:
    """Return the current day, UTC."""
    return datetime.now(UTC).date()


def render_response(trace: Trace) -> str:
    """Return the text of the response in training, without the template's end of turn."""
    lines = [step.content for step in trace.steps]
    return "\n".join([*lines, f"{ANSWER_MARKER} {trace.answer}"])


def parse_response(text: str) -> ParsedResponse:
    """Parse a model's output: the inverse of :func:`render_response` for any text.

    Each nonblank line before the last line with the marker is a step; text without a marker has
    steps and no answer.
    """
    lines = text.split("\n")
    marked = [i for i, line in enumerate(lines) if line.startswith(ANSWER_MARKER)]
    cut = marked[-1] if marked else len(lines)
    answer = "\n".join(lines[cut:])[len(ANSWER_MARKER) :].strip() if marked else ""
    contents = [line.strip() for line in lines[:cut] if line.strip()]
    steps = [Step(i=i, type=GENERATED_STEP, content=line) for i, line in enumerate(contents)]
    return ParsedResponse(steps, answer)
