"""Plans for rendering conversations, many with one request to the renderer."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.formats.data.message import Message, Role
from tailrace.formats.spec.methods import TrainOn
from training.data.chat_template import Beginning, ChatTemplate, Rendering, RenderJob, render_all
from training.data.conversation import Conversation, template_message
from training.data.literal_text import LiteralText
from training.data.masking import (
    assistant_messages,
    beginnings_of,
    labelled_messages,
    learnt_messages,
)

_CHUNK = 64
"""Largest number of conversations in one request to the renderer."""

_MAX_TURNS = 500
"""Largest number of turns that are located by rendering: each needs the conversation up to it, so
that the time grows with the square of their number."""

_CHUNK_CHARACTERS = 1 << 20
"""Number of characters after which a request takes no further conversation."""


@dataclass(frozen=True)
class RenderPlan:
    """A conversation that is to be rendered."""

    conversation: Conversation
    learnt: list[int]
    """Messages to learn."""
    located: list[int]
    """Messages whose place in the text must be known."""
    learns_all: bool
    """True if all text is learnt but that of unlearnt assistant messages."""
    template: ChatTemplate
    """The template to render with."""
    job: RenderJob
    """The conversation with placeholders; for plain text, one message that is not rendered."""
    labelled: RenderJob | None = None
    """The conversation with labels, for templates that mark several answers."""
    refusal: str = ""
    """Reason why the conversation cannot be learnt, known before it is rendered."""


class Planner:
    """Plans for the conversations of one model."""

    def __init__(self, plain: ChatTemplate, with_tools: ChatTemplate, literal: LiteralText) -> None:
        """Set the templates without and with tools, and the placeholders of control tokens."""
        self._plain = plain
        self._with_tools = with_tools
        self._literal = literal
        # Random, so that no text can contain it; letters and digits, which are never escaped.
        self.label = f"answer{secrets.token_hex(16)}x"
        """Text before the index of each answer in labelled conversations."""

    def template(self, tools: Sequence[dict[str, Any]]) -> ChatTemplate:
        """Return the template of conversations with some tools."""
        return self._with_tools if tools else self._plain

    def job(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        beginnings: Sequence[Beginning],
        allow_special_tokens: bool,
        *,
        asks: bool = False,
    ) -> RenderJob:
        """Return the job of rendering messages, with placeholders for control tokens."""
        contents = [template_message(message) for message in messages]
        if not allow_special_tokens:
            contents = [self._protected(content) for content in contents]
            tools = [self._literal.protect(tool) for tool in tools]
        return RenderJob(contents, tools, asks, beginnings)

    def plan(
        self, conversation: Conversation, train_on: TrainOn, allow_special_tokens: bool
    ) -> RenderPlan:
        """Return the plan for a conversation of which a part is learnt."""
        messages = conversation.messages
        template = self.template(conversation.tools)
        if not messages:
            text = conversation.text
            text = text if allow_special_tokens else self._literal.protect(text)
            return RenderPlan(conversation, [], [], True, template, RenderJob([{"content": text}]))
        answers = assistant_messages(messages)
        learnt = learnt_messages(conversation, train_on)
        learns_all, located = train_on is TrainOn.EVERYTHING, learnt
        if learns_all:
            # The last turn may need an end.
            last = [i for i in learnt if i == len(messages) - 1]
            located = [i for i in answers if i not in learnt] + last
        refusal = ""
        if len(located) > _MAX_TURNS and not template.marks_answers:
            refusal = (
                f"has {len(located)} turns to learn, at most {_MAX_TURNS} are located in a chat "
                "template that does not mark them with {% generation %}: set train_on: "
                "last_assistant, or override the template by one that marks them"
            )
            located = []
        beginnings = [] if template.marks_answers else beginnings_of(located, len(messages))
        job = self.job(messages, conversation.tools, beginnings, allow_special_tokens)
        labelled = None
        if template.marks_answers and len(answers) > 1:
            labelled = RenderJob(labelled_messages(job.messages, answers, self.label), job.tools)
        return RenderPlan(
            conversation, learnt, located, learns_all, template, job, labelled, refusal
        )

    def _protected(self, message: dict[str, Any]) -> dict[str, Any]:
        teaches = message["role"] == Role.ASSISTANT
        return {
            name: value
            if name == "role"
            else self._literal.protect(value, teaches=teaches and name == "content")
            for name, value in message.items()
        }


def chunks(plans: Iterable[RenderPlan]) -> Iterator[list[RenderPlan]]:
    """Yield plans in groups for one request each."""
    chunk: list[RenderPlan] = []
    size = 0
    for plan in plans:
        chunk.append(plan)
        size += plan.job.size
        if len(chunk) == _CHUNK or size > _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def render(plans: Sequence[RenderPlan]) -> list[tuple[Rendering | None, Rendering | None]]:
    """Return the rendered conversations, and those with labels, in order; None for no job."""
    renderings: list[list[Rendering | None]] = [[None, None] for _ in plans]
    jobs: dict[bool, list[tuple[int, int, RenderJob]]] = {}
    for index, plan in enumerate(plans):
        if plan.conversation.messages:
            batch = jobs.setdefault(bool(plan.conversation.tools), [])
            batch.append((index, 0, plan.job))
            batch += [] if plan.labelled is None else [(index, 1, plan.labelled)]
    for batch in jobs.values():
        rendered = render_all(plans[batch[0][0]].template, [job for _, _, job in batch])
        for (index, place, _), rendering in zip(batch, rendered, strict=True):
            renderings[index][place] = rendering
    return [(plain, labelled) for plain, labelled in renderings]
