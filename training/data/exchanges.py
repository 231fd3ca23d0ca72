"""Overlong conversations without their oldest exchanges.

An exchange is a user's message with all that follows it up to the next one: answers, calls of
tools and their results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tailrace.formats.data.message import Role
from training.data.conversation import Conversation
from training.data.rendered_example import RenderedExample

_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)


@dataclass(frozen=True)
class Fitted:
    """A conversation that fits."""

    example: RenderedExample
    """The conversation without the left-out exchanges."""
    left_out: int
    """Number of exchanges that are left out."""


def fitting(
    conversation: Conversation, limit: int, encode: Callable[[Conversation], RenderedExample]
) -> Fitted | None:
    """Return a conversation without as many of its oldest exchanges as it takes to fit.

    The instructions at the beginning stay, and so does all from the last exchange with an answer
    to learn; None if that alone is too long. Longer conversations must not have fewer tokens.

    Args:
        conversation: The conversation.
        limit: Largest number of tokens up to the last learnt one.
        encode: Encoding of a conversation.
    """
    starts = _exchanges(conversation)
    # The smallest number of left-out exchanges that is known to fit, and the largest that is not.
    low, high = -1, max(1, len(starts))
    fitted: Fitted | None = None
    left_out = 0
    while low + 1 < high:
        example = encode(_without(conversation, starts, left_out))
        if example.learnt_length <= limit:
            high, fitted = left_out, Fitted(example, left_out)
        else:
            low = left_out
        left_out = (low + high) // 2
    return fitted


def _exchanges(conversation: Conversation) -> list[int]:
    """Return the begin of each exchange, up to the last one with an answer to learn."""
    messages = conversation.messages
    first = next((i for i, m in enumerate(messages) if m.role not in _INSTRUCTIONS), 0)
    starts = [i for i in range(first, len(messages)) if i == first or messages[i].role is Role.USER]
    learnt = [i for i, m in enumerate(messages) if m.role is Role.ASSISTANT and m.weight != 0]
    return [start for start in starts if not learnt or start <= learnt[-1]]


def _without(conversation: Conversation, starts: list[int], left_out: int) -> Conversation:
    if not left_out:
        return conversation
    begin, end = starts[0], starts[left_out]
    messages = [*conversation.messages[:begin], *conversation.messages[end:]]
    prompt_length = max(begin, conversation.prompt_length - (end - begin))
    return replace(conversation, messages=messages, prompt_length=prompt_length)
