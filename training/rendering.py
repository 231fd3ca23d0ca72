"""How a trace becomes text: one rendering for training and evaluation.

The prompt side is a chat template that is saved with the model, so that whoever opens the model
later asks it the way it was taught; a model that brings its own template keeps it. The response
side is plain text: the reasoning steps, a line each, then the answer behind a marker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from tailrace.formats.trace import Step, Trace
from training.errors import ModelConfigError

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
"""The template given to models that have none."""


@dataclass(frozen=True)
class ParsedResponse:
    """A model's output, taken apart."""

    steps: list[Step]
    """Its lines before the answer; none are invented."""
    answer: str
    """What stands behind the last answer marker; empty when there is none."""


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The text that a model sees before it answers ``prompt``.

    Raises :class:`training.errors.ModelConfigError` when the model's own template cannot render it.
    """
    messages = [{"role": "user", "content": prompt}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ModelConfigError(f"the model's chat template refuses a prompt: {error}") from error
    return str(text)


def render_response(trace: Trace) -> str:
    """The text that a model learns to answer with; the end-of-sequence token comes after it."""
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
