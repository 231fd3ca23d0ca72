"""Thinking in generated text: blocks in which a model reasons before it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

_NAME = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad|seed:think)"
TAG = re.compile(
    # Not a mention of the tag: `<think>`, "<think>", the <think> tag.
    r"(?<!`)(?!(?<=[\"'])<[^<>\n]{1,40}>[\"']|<[^<>\n]{1,40}>[ \t]+(?:tag|token|block|element)s?\b)"
    rf"(?:<(?P<end1>/?)(?P<name1>{_NAME})\s*>|◁(?P<end2>/?)(?P<name2>{_NAME})▷|"
    r"\[(?P<end3>/?)(?P<name3>THINK)\]|<\|(?:begin|(?P<end4>end))_of_(?P<name4>thought)\|>|"
    # The channels of gpt-oss: all but the final one are thinking.
    r"(?:<\|start\|>assistant)?<\|channel\|>(?:(?P<end5>final)|analysis|commentary)[^<\n]{0,80}(?P<name5><\|message\|>))",
    re.IGNORECASE,
)
"""A tag that opens or closes a block of thinking."""

_CHANNELS = re.compile(r"\s*(?:analysis|commentary)")
_FINAL_CHANNEL = "assistantfinal"
"""The final channel's header after special tokens are dropped."""


@dataclass(frozen=True)
class SplitText:
    """A generated text, split into its thinking and its answer."""

    reasoning: str
    """Text of the blocks of thinking, without their tags; empty if there are none."""
    answer: str | None
    """Text outside of the blocks; None if a block is never closed."""
    closed: bool | None
    """True if all thinking ends with a closing tag; None if there is no thinking."""


def split_thinking(text: str, verbatim: Iterable[str] = (), opening: str = "") -> SplitText:
    """Return the thinking and the answer of a generated text.

    A closing tag without an opening one ends thinking that began in the prompt.

    Args:
        text: The generated text.
        verbatim: Right answers. One that mentions thinking tags and ends the text is kept intact.
        opening: Tag with which the prompt began a block of thinking; see :func:`opened_thinking`.
    """
    for answer in map(str.strip, verbatim):
        if TAG.search(answer) and text.rstrip().endswith(answer):
            head = split_thinking(text.rstrip().removesuffix(answer), opening=opening)
            return replace(head, answer=None if head.answer is None else head.answer + answer)
    # On a separate line, so that nothing after the tag makes it a mention.
    return _split_blocks(f"{opening}\n{text}") if opening else _split_channels(text)


def opened_thinking(prompt: str) -> str:
    """Return the tag with which a rendered prompt begins thinking; empty if it does not."""
    last = next(reversed([*TAG.finditer(prompt)]), None)
    if last is None or prompt[last.end() :].strip() or _closes(last):
        return ""
    return last.group()


def without_thinking(text: str, verbatim: Iterable[str] = ()) -> str | None:
    """Return the answer of :func:`split_thinking`; None if a block of thinking is never closed."""
    return split_thinking(text, verbatim).answer


def _split_channels(text: str) -> SplitText:
    """Split a text whose channels may have lost their special tokens."""
    channel = _CHANNELS.match(text)
    if channel and _FINAL_CHANNEL in text:
        reasoning, _, answer = text[channel.end() :].rpartition(_FINAL_CHANNEL)
        return SplitText(reasoning.strip(), answer, closed=True)
    if channel and text[channel.end() :][:1].isupper():
        return SplitText(text[channel.end() :].strip(), None, closed=False)
    return _split_blocks(text)


def _split_blocks(text: str) -> SplitText:
    answers: list[str] = []
    thoughts: list[str] = []
    begin, open_name, has_thinking = 0, "", False
    end_of_first = 0
    for tag in TAG.finditer(text):
        name, closes = _name_of(tag), _closes(tag)
        if not closes and not open_name:
            answers.append(text[begin : tag.start()])
            begin, open_name = tag.end(), name
        elif closes and not open_name:
            # All before it is thinking that began in the prompt.
            answers, thoughts, end_of_first = [], [], tag.start()
            begin, has_thinking = tag.end(), True
        elif closes and name == open_name:
            thoughts.append(text[begin : tag.start()])
            begin, open_name, has_thinking = tag.end(), "", True
    if open_name:
        thoughts.append(text[begin:])
    # Once, at the end: a text of closing tags alone takes linear time, too.
    thoughts.insert(0, TAG.sub("", text[:end_of_first]))
    reasoning = "\n\n".join(filter(None, map(str.strip, thoughts)))
    if open_name:
        return SplitText(reasoning, None, closed=False)
    return SplitText(reasoning, "".join([*answers, text[begin:]]), has_thinking or None)


def _name_of(tag: re.Match[str]) -> str:
    return next(tag[f"name{i}"] for i in range(1, 6) if tag[f"name{i}"]).lower()


def _closes(tag: re.Match[str]) -> bool:
    return any(tag[f"end{i}"] for i in range(1, 6))
