"""Rendering of chat templates in a process with limited memory that can be killed.

A template is a foreign program: jinja's sandbox keeps it from files and code, but not from
``{{ 'a' * 10**9 }}`` or nested loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from training.errors import ModelConfigError
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError

SECONDS = 20.0
"""Time limit for one conversation; templates of real models take milliseconds."""

MEMORY_BYTES = 1 << 30
"""Memory limit for one conversation."""

_MOST_ADDED = 1 << 20
_MOST_TIMES = 16

PROCESS = BoundedProcess(
    "training.data.chat_template:render_request", seconds=SECONDS, memory_bytes=MEMORY_BYTES
)
"""Renderer: one process for all templates."""


def render_template(
    template: str,
    messages: Sequence[Mapping[str, str]],
    special_tokens: Mapping[str, object],
    clock: date,
    *,
    asks: bool,
    trusted: bool = False,
) -> str:
    """Return a conversation as transformers renders it with a chat template.

    Args:
        template: The chat template.
        messages: The conversation.
        special_tokens: The tokenizer's ``special_tokens_map``, which templates can read.
        clock: The day that ``strftime_now`` returns, at midnight.
        asks: Whether the text ends with the begin of the assistant's turn.
        trusted: Whether the template is known to be harmless and needs no process.

    Raises:
        ModelConfigError: The template refuses the conversation, or exceeds a limit.
    """
    request = {
        "template": template,
        "messages": [dict(message) for message in messages],
        "special_tokens": {name: _plain(token) for name, token in special_tokens.items()},
        "clock": clock.isoformat(),
        "asks": asks,
    }
    try:
        text = render_request(request) if trusted else str(PROCESS.ask(request))
    except WorkFailedError as error:
        raise ModelConfigError(
            f"the model's chat template cannot render a prompt: {error}"
        ) from error
    except OutOfBoundsError as error:
        raise ModelConfigError(f"the model's chat template {error} for one prompt") from error
    length = sum(len(value) for message in messages for value in message.values())
    if len(text) > _MOST_ADDED + _MOST_TIMES * length:
        raise ModelConfigError(
            f"the model's chat template writes {len(text)} characters for a "
            f"conversation of {length}"
        )
    return text


def render_request(request: dict[str, Any]) -> str:
    """Do the work of :func:`render_template`, in its process."""
    # transformers has no parameter for the clock; these globals belong to this template alone.
    from transformers.utils.chat_template_utils import (
        _compile_jinja_template,
        render_jinja_template,
    )

    template = request["template"]
    clock = datetime.combine(date.fromisoformat(request["clock"]), time())
    _compile_jinja_template(template).globals["strftime_now"] = clock.strftime
    result: Any = render_jinja_template(
        [request["messages"]],
        chat_template=template,
        add_generation_prompt=request["asks"],
        **request["special_tokens"],
    )
    return str(result[0][0])


def _plain(token: object) -> object:
    return [str(part) for part in token] if isinstance(token, (list, tuple)) else str(token)
