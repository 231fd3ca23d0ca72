"""How a trace becomes text: one rendering for training and evaluation.

The prompt side is a chat template that is saved with the model, so that whoever opens the model
later asks it the way it was taught; a model that brings its own template keeps it. The response
side is plain text: the reasoning steps, a line each, then the answer behind a marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from tailrace.formats.data.trace import Step, Trace
from training.data.chat_template import render_template

if TYPE_CHECKING:
    # Judges read responses, and have no time for this import.
    from transformers import PreTrainedTokenizerBase

ANSWER_MARKER = "Answer:"
"""What the last line of a response starts with."""

GENERATED_STEP = "generated"
"""Type of the steps that are read out of a model's output."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant:\\n' + message['content'] + eos_token + '\\n' }}"
    "{% else %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] + '\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
"""The template given to models that have none; see :func:`training.data.tokenizer.template_for`."""


@dataclass(frozen=True)
class ParsedResponse:
    """A model's output, taken apart."""

    steps: list[Step]
    """Its lines before the answer; none are invented."""
    answer: str
    """What stands behind the last answer marker; empty when there is none."""


def render_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    clock: date | None = None,
    *,
    asks: bool,
) -> str:
    """Return a conversation as the model's chat template writes it.

    The template gets no arguments of its own, as in transformers, so that a model that chooses
    between thinking and not thinking does as its template does by default.

    Args:
        tokenizer: Its chat template is the one that renders.
        messages: The conversation; each message has a ``role`` and a ``content``.
        clock: The day that ``strftime_now`` tells, at midnight (default: today, UTC).
        asks: Whether the assistant's turn is opened at the end.

    Raises:
        ModelConfigError: The template refuses the conversation, cannot render it, or takes more
            time or memory than it may.
    """
    template = str(tokenizer.get_chat_template())
    return render_template(
        template,
        messages,
        tokenizer.special_tokens_map,
        clock or today(),
        asks=asks,
        trusted=template == CHAT_TEMPLATE,
    )


def render_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, clock: date | None = None
) -> str:
    """Return the text that a model sees before it answers; see :func:`render_messages`."""
    return render_messages(tokenizer, [{"role": "user", "content": prompt}], clock, asks=True)


def today() -> date:
    """Return the day it is, UTC."""
    return datetime.now(UTC).date()


def render_response(trace: Trace) -> str:
    """The text that a model learns to answer with; the template's end of turn comes after it."""
    lines = [step.content for step in trace.steps]
    return "\n".join([*lines, f"{ANSWER_MARKER} {trace.answer}"])


def parse_response(text: str) -> ParsedResponse:
    """The inverse of :func:`render_response` for whatever a model wrote.

    Every line that is not blank before the last line with the marker is one step; text without a
    marker has steps and no answer.
    """
    lines = text.split("\n")
    marked = [i for i, line in enumerate(lines) if line.startswith(ANSWER_MARKER)]
    cut = marked[-1] if marked else len(lines)
    answer = "\n".join(lines[cut:])[len(ANSWER_MARKER) :].strip() if marked else ""
    contents = [line.strip() for line in lines[:cut] if line.strip()]
    steps = [Step(i=i, type=GENERATED_STEP, content=line) for i, line in enumerate(contents)]
    return ParsedResponse(steps, answer)
