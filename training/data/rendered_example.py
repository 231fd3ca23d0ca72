"""Rendered conversations: the text that a model sees, its tokens, and those that it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.data.message import Message, Role

Span = tuple[int, int]
"""Begin and end in a text, in characters."""


@dataclass(frozen=True, eq=False)
class RenderedExample:
    """A conversation as the model sees it in training."""

    text: str
    """The text of all tokens."""
    tokens: NDArray[np.int32]
    """Token ids, [T]."""
    mask: NDArray[np.bool_]
    """True for tokens that the model learns to write, [T]."""
    spans: NDArray[np.int64]
    """Begin and end of each token in ``text``, in characters, [T, 2]; the tokens of an emoji may
    share its character."""
    authors: Sequence[tuple[Span, Role]]
    """Parts of ``text`` that messages wrote, in order; the rest is the template's."""
    untrainable: Sequence[int]
    """Indices of messages that should be learnt and cannot be: the template renders them in
    another way than after their prompt."""
    lost_reasoning: Sequence[int]
    """Indices of learnt messages whose ``reasoning_content`` the template leaves out."""

    @property
    def learnt_length(self) -> int:
        """Number of tokens up to and with the last learnt one; 0 if none is learnt.

        Tokens after it change neither loss nor gradients.
        """
        learnt = np.flatnonzero(self.mask)
        return int(learnt[-1]) + 1 if len(learnt) else 0

    @cached_property
    def roles(self) -> list[Role | None]:
        """Author of each token; None for text of the template and of tool definitions."""
        roles: list[Role | None] = [None] * len(self.tokens)
        for span, role in self.authors:
            for index in np.flatnonzero(overlapping(self.spans, [span])):
                roles[index] = roles[index] or role
        return roles


def overlapping(tokens: NDArray[np.int64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Return True for each token [T, 2] that has a character in one of the spans."""
    mask = np.zeros(len(tokens), np.bool_)
    for begin, end in spans:
        mask |= (tokens[:, 0] < end) & (tokens[:, 1] > begin)
    return mask


def authors_of(
    text: str, messages: Sequence[Message], turns: Mapping[int, Sequence[Span]]
) -> list[tuple[Span, Role]]:
    """Return the parts of a text that messages wrote.

    Args:
        text: The rendered conversation.
        messages: The messages; their texts are searched for one after the other.
        turns: Known places of assistant messages, by index.
    """
    authors: list[tuple[Span, Role]] = []
    position = 0
    for index, message in enumerate(messages):
        spans = turns.get(index) or _found(text, message, position)
        authors += [(span, message.role) for span in spans]
        position = max([position, *(end for _, end in spans)])
    return authors


def _found(text: str, message: Message, position: int) -> list[Span]:
    spans = []
    for part in (message.reasoning_content or "", message.content):
        # Templates may trim the text of messages.
        written = part if part in text[position : position + len(part)] else part.strip()
        begin = text.find(written, position) if written else -1
        if begin >= 0:
            position = begin + len(written)
            spans.append((begin, position))
    return spans
