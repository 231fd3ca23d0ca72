"""Rendering of chat templates in a process with limited memory that can be killed.

A template is a foreign program: jinja's sandbox keeps it from files and code, but not from
``{{ 'a' * 10**9 }}`` or nested loops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from training.errors import ConfigError, ModelConfigError
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError

SECONDS = 20.0
"""Time limit for one conversation; templates of real models take milliseconds."""

MEMORY_BYTES = 1 << 30
"""Memory limit for one conversation."""

_MOST_ADDED = 1 << 20
_MOST_TIMES = 16
_MOST_SHOWN = 1000

PROCESS = BoundedProcess(
    "training.data.chat_template:render_request", seconds=SECONDS, memory_bytes=MEMORY_BYTES
)
"""Renderer: one process for all templates."""

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")

_RESERVED = frozenset(
    (
        *("messages", "tools", "documents", "add_generation_prompt", "chat_template"),
        *("conversations", "continue_final_message", "return_assistant_tokens_mask"),
    )
)
"""Variables that belong to the conversation."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the variables that it reads."""

    text: str
    """The Jinja template."""
    clock: date
    """The day that ``strftime_now`` returns, at midnight."""
    special_tokens: Mapping[str, object] = field(default_factory=dict)
    """The tokenizer's ``special_tokens_map``, which templates can read."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Further variables, such as ``enable_thinking``."""
    trusted: bool = False
    """True for a template that is known to be harmless and needs no process."""

    @property
    def marks_answers(self) -> bool:
        """True if the template marks the assistant's text with ``{% generation %}``."""
        return _MARKS.search(self.text) is not None


@dataclass(frozen=True)
class Beginning:
    """Leading messages of a conversation, which are rendered for comparison with the whole."""

    count: int
    """Number of messages."""
    asks: bool
    """True if the text ends with the begin of the assistant's turn."""


@dataclass(frozen=True)
class RenderJob:
    """A conversation to render, as plain data."""

    messages: Sequence[Mapping[str, Any]]
    """The messages as templates take them: ``role``, ``content`` and so on."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Tools that the assistant may call."""
    asks: bool = False
    """True if the text ends with the begin of the assistant's turn."""
    beginnings: Sequence[Beginning] = ()
    """Beginnings of the conversation to render, too."""

    @property
    def size(self) -> int:
        """Number of characters of the conversation as JSON."""
        return len(json.dumps([list(self.messages), list(self.tools)], ensure_ascii=False))


@dataclass(frozen=True)
class RenderedBeginning:
    """A rendered beginning of a conversation, compared with the rendered conversation."""

    length: int
    """Number of characters."""
    common: int
    """Number of leading characters that the whole conversation has, too."""
    text: str | None
    """The text, unless the whole conversation begins with it."""

    @property
    def is_prefix(self) -> bool:
        """True if the whole conversation begins with this text."""
        return self.common == self.length


@dataclass(frozen=True)
class Rendering:
    """A rendered conversation."""

    text: str | None
    """The text; None if the template refuses the conversation."""
    problem: str
    """The template's error; empty for a rendered conversation."""
    blocks: Sequence[tuple[int, int]]
    """Begin and end of each ``{% generation %}`` block, in characters."""
    beginnings: Sequence[RenderedBeginning | None]
    """Those of the job, in its order; None for one that the template refuses."""
    blocks_are_misplaced: bool = False
    """True if a block is not at its place in the text, as in a macro or a ``{% set %}`` block."""


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raise :class:`training.errors.ConfigError` for variables that belong to the conversation."""
    for name in sorted(_RESERVED & variables.keys()):
        raise ConfigError(
            f"model.chat_template_kwargs.{name} cannot be set: it comes with each conversation; "
            "set variables that the template reads, such as enable_thinking"
        )


def render_all(template: ChatTemplate, jobs: Sequence[RenderJob]) -> list[Rendering]:
    """Return conversations as transformers renders them, all with one request to the process.

    Raises:
        ModelConfigError: The template exceeds a limit of time, memory or length.
    """
    request = {
        "template": template.text,
        "clock": template.clock.isoformat(),
        "special_tokens": {n: _plain(token) for n, token in template.special_tokens.items()},
        "variables": dict(template.variables),
        "marks": template.marks_answers,
        "jobs": [
            {
                "messages": [dict(message) for message in job.messages],
                "tools": [dict(tool) for tool in job.tools] or None,
                "asks": job.asks,
                "beginnings": [[beginning.count, beginning.asks] for beginning in job.beginnings],
            }
            for job in jobs
        ],
    }
    try:
        replies = render_request(request) if template.trusted else PROCESS.ask(request)
    except WorkFailedError as error:
        raise ModelConfigError(
            f"the model's chat template cannot render a prompt: {error}"
        ) from error
    except OutOfBoundsError as error:
        if len(jobs) > 1:
            # The limits are those of one conversation.
            return [render_all(template, [job])[0] for job in jobs]
        raise ModelConfigError(f"the model's chat template {error} for one prompt") from error
    return [_rendering(reply, job) for reply, job in zip(replies, jobs, strict=True)]


def render_template(template: ChatTemplate, job: RenderJob) -> str:
    """Return one conversation as transformers renders it.

    Raises:
        ModelConfigError: The template refuses the conversation, or exceeds a limit.
    """
    rendering = render_all(template, [job])[0]
    if rendering.text is None:
        raise ModelConfigError(
            f"the model's chat template cannot render a prompt: {rendering.problem}"
        )
    return rendering.text


def render_request(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Do the work of :func:`render_all`, in its process."""
    # transformers has no parameter for the clock; these globals belong to this template alone.
    from transformers.utils.chat_template_utils import (
        _compile_jinja_template,
        render_jinja_template,
    )

    clock = datetime.combine(date.fromisoformat(request["clock"]), time())
    # A template with a syntax error fails the whole request.
    compiled = _compile_jinja_template(request["template"])
    compiled.globals["strftime_now"] = clock.strftime
    written = _record_blocks(compiled.environment)

    def render(messages: list[Any], tools: Any, asks: bool) -> tuple[str, list[Any], bool]:
        written.clear()
        # Its annotation says text; it returns two lists.
        result: Any = render_jinja_template(
            [messages],
            tools=tools,
            chat_template=request["template"],
            add_generation_prompt=asks,
            return_assistant_tokens_mask=request["marks"],
            **{**request["special_tokens"], **request["variables"]},
        )
        texts, blocks = result
        text, spans = str(texts[0]), list(blocks[0]) if blocks else []
        text.encode()  # A template can write half of a surrogate pair.
        misplaced = any(
            text[begin:end] != block
            for (begin, end), block in zip(spans, written, strict=request["marks"])
        )
        return text, spans, misplaced

    return [_render_job(render, job) for job in request["jobs"]]


_Render = Callable[[list[Any], Any, bool], tuple[str, list[Any], bool]]


def _record_blocks(environment: Any) -> list[str]:
    """Return a list that gets the text of each ``{% generation %}`` block when it is rendered.

    transformers counts the characters written before a block, and so finds a wrong place for a
    block in text that is written later, such as that of a macro.
    """
    import jinja2

    (tracker,) = (e for e in environment.extensions.values() if "generation" in e.tags)
    if not hasattr(tracker, "written_blocks"):
        written: list[str] = []
        support = tracker._generation_support

        @jinja2.pass_eval_context
        def recording(context: Any, caller: Any) -> str:
            text = str(support(context, caller))
            written.append(text)
            return text

        tracker.written_blocks, tracker._generation_support = written, recording
    blocks: list[str] = tracker.written_blocks
    return blocks


def _render_job(render: _Render, job: dict[str, Any]) -> dict[str, Any]:
    messages, tools = job["messages"], job["tools"]
    conversation = _attempt(render, messages, tools, job["asks"])
    beginnings: list[list[Any] | None] = []
    for count, asks in job["beginnings"]:
        part = _attempt(render, messages[:count], tools, asks)
        text = part["text"]
        if text is None:
            beginnings.append(None)
            continue
        common = _common(text, conversation["text"] or "")
        own_text = text if common < len(text) else None
        beginnings.append([len(text), common, own_text])
    return {**conversation, "beginnings": beginnings}


def _attempt(render: _Render, messages: list[Any], tools: Any, asks: bool) -> dict[str, Any]:
    try:
        text, blocks, misplaced = render(messages, tools, asks)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a template can raise anything
        problem = _one_line(f"{type(error).__name__}: {error}"[:_MOST_SHOWN])
        return {"text": None, "blocks": [], "problem": problem, "misplaced": False}
    return {"text": text, "blocks": blocks, "problem": "", "misplaced": misplaced}


def _one_line(text: str) -> str:
    """Return a template's text as one line without characters that terminals obey."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _common(text: str, other: str) -> int:
    """Return the number of leading characters that two texts share."""
    if other.startswith(text):
        return len(text)
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if text[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _rendering(reply: dict[str, Any], job: RenderJob) -> Rendering:
    texts = [reply["text"], *(b[2] for b in reply["beginnings"] if b is not None)]
    longest = max((len(text) for text in texts if text is not None), default=0)
    if longest > _MOST_ADDED and longest > _MOST_ADDED + _MOST_TIMES * job.size:
        raise ModelConfigError(
            f"the model's chat template writes {longest} characters for a conversation of "
            f"{job.size}"
        )
    return Rendering(
        reply["text"],
        reply["problem"],
        [(int(begin), int(end)) for begin, end in reply["blocks"]],
        [None if b is None else RenderedBeginning(*b) for b in reply["beginnings"]],
        reply["misplaced"],
    )


def _plain(token: object) -> object:
    return [str(part) for part in token] if isinstance(token, (list, tuple)) else str(token)
