"""Places of the assistant's turns in rendered conversations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tailrace.formats.data.thinking import TAG
from training.data.chat_template import Beginning, RenderedBeginning, Rendering
from training.data.literal_text import ConversationError
from training.data.masking import (
    TurnEnd,
    Turns,
    assistant_messages,
    blocks_by_message,
    marked_turns,
    turns_between,
)
from training.data.render_plan import RenderPlan

_SPACE = re.compile(r"\s+")


class TurnFinder:
    """Search for the turns that one model learns."""

    def __init__(self, end: TurnEnd, end_of_text: str, label: str, *, takes_answers: bool) -> None:
        """Set the properties of the model's chat format.

        Args:
            end: End of the template's turns.
            end_of_text: The tokenizer's end-of-sequence token.
            label: Text before the index of each answer in labelled conversations.
            takes_answers: False for a template that can only render prompts.
        """
        self._end = end
        self._end_of_text = end_of_text
        self._label = label
        self._takes_answers = takes_answers

    def turns(self, plan: RenderPlan, rendering: Rendering, labelled: Rendering | None) -> Turns:
        """Return the text of a conversation with the places of its messages."""
        if plan.template.marks_answers:
            turns = self._marked_turns(plan, rendering, labelled)
        else:
            turns = self._rendered_turns(plan, rendering)
        last = len(plan.conversation.messages) - 1
        if last in turns.places and last in plan.learnt:
            self._end_last_turn(turns, last)
        return turns

    def _marked_turns(
        self, plan: RenderPlan, rendering: Rendering, labelled: Rendering | None
    ) -> Turns:
        if rendering.blocks_are_misplaced:
            raise ConversationError(
                "the model's chat template has its {% generation %} blocks inside a macro, a set "
                "or a filter block, where their places in the text are unknown: move them out"
            )
        answers = assistant_messages(plan.conversation.messages)
        blocks = blocks_by_message(rendering, labelled, answers, self._label, self._end)
        return marked_turns(text_of(rendering), plan.located, blocks, self._end)

    def _rendered_turns(self, plan: RenderPlan, rendering: Rendering) -> Turns:
        beginnings = dict(zip(plan.job.beginnings, rendering.beginnings, strict=True))
        last = len(plan.conversation.messages) - 1
        if last not in plan.located:
            return turns_between(text_of(rendering), plan.located, beginnings, self._end)
        prompt = beginnings[Beginning(last, asks=True)]
        text, begin, shared = self._last_turn(plan, rendering, prompt)
        earlier = [i for i in plan.located if i != last]
        turns = turns_between(text, earlier, beginnings, self._end, shared)
        if begin is None:
            turns.untrainable.append(last)
        else:
            turns.places[last] = [(begin, len(text))]
        return turns

    def _last_turn(
        self, plan: RenderPlan, rendering: Rendering, prompt: RenderedBeginning | None
    ) -> tuple[str, int | None, int]:
        """Return the text of a conversation that ends with an answer, and the answer's begin.

        The begin is None for an answer that cannot be learnt. The third value is the number of
        leading characters that the text shares with the conversation as the template renders it.
        ``prompt`` is the rendered prompt of the answer.
        """
        message = plan.job.messages[-1]
        if prompt is None:
            text = text_of(rendering)
            return text, None, len(text)
        opened = prompt.text if prompt.text is not None else (rendering.text or "")[: prompt.length]
        if rendering.text is not None and prompt.is_prefix:
            rest = rendering.text[prompt.length :]
            if self._keeps_answer(message, rest):
                return rendering.text, prompt.length, len(rendering.text)
        if "tool_calls" in message or (rendering.text is None and self._takes_answers):
            text = text_of(rendering)
            return text, None, len(text)
        answer = continuation(opened, message["content"], message.get("reasoning_content"))
        return opened + answer + self._end.taught, len(opened), prompt.common

    def _keeps_answer(self, message: Mapping[str, Any], rest: str) -> bool:
        """Return True if the template writes an answer without a change of its text."""
        if "tool_calls" in message or "reasoning_content" in message:
            return True
        written = self._end.written
        answer = rest[: len(rest) - len(written)]
        return rest.endswith(written) and same_text(answer, message["content"])

    def _end_last_turn(self, turns: Turns, last: int) -> None:
        """End the turn at the end of a text with its first end-of-turn token, or add one."""
        *spans, (begin, _) = turns.places[last]
        stop = self._end.find(turns.text, begin, len(turns.text))
        if stop is None:
            stop = max(begin, self._end.without_token(turns.text))
            turns.text = turns.text[:stop] + self._end_of_text
            stop = len(turns.text)
        turns.places[last] = [*spans, (begin, stop)]


def text_of(rendering: Rendering) -> str:
    """Return the text of a rendered conversation.

    Raises:
        ConversationError: The template refuses the conversation.
    """
    if rendering.text is None:
        raise ConversationError(
            f"the model's chat template refuses the conversation: {rendering.problem}"
        )
    return rendering.text


def continuation(opened: str, content: str, reasoning: str | None = None) -> str:
    """Return the text of an answer behind its prompt.

    It first closes the thinking block that the prompt has opened.

    Args:
        opened: The rendered prompt.
        content: The answer; it may begin with thinking.
        reasoning: Thinking apart from the answer; it is written into an opened block only.
    """
    last = next(reversed([*TAG.finditer(opened)]), None)
    if last is None or opened[last.end() :].strip() or _closing(last[0]) == last[0]:
        return content
    opening, closing = last[0], _closing(last[0])
    if reasoning is not None:
        return f"{reasoning.strip()}\n{closing}\n\n{content}"
    if closing in content:
        return content.lstrip().removeprefix(opening)
    return f"\n{closing}\n\n{content}"


def same_text(text: str, other: str) -> bool:
    """Return True if texts differ in white space and thinking tags only, which templates add."""
    return text.strip() == other.strip() or _without_spaces(text) == _without_spaces(other)


def _closing(opening: str) -> str:
    """Return the closing tag for a thinking tag; a closing tag is returned unchanged."""
    if "_of_" in opening:
        return opening.replace("begin_of", "end_of")
    return opening if opening[1] in "/|" else f"{opening[0]}/{opening[1:]}"


def _without_spaces(text: str) -> str:
    return _SPACE.sub("", TAG.sub("", text))
