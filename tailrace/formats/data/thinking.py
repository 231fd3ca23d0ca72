"""Thinking in generated text: blocks in which a model reasons before it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def without_thinking(text: str, verbatim: Iterable[str] = ()) -> str | None:
    """Return the answer in a generated text; None if a block of thinking is never closed.

    A closing tag without an opening one ends thinking that began in the prompt.

    Args:
        text: The generated text.
        verbatim: Right answers. One that mentions thinking tags and ends the text is kept intact.
    """
    for answer in map(str.strip, verbatim):
        if TAG.search(answer) and text.rstrip().endswith(answer):
            head = without_thinking(text.rstrip().removesuffix(answer))
            return None if head is None else head + answer
    channel = _CHANNELS.match(text)
    if channel and _FINAL_CHANNEL in text:
        return text.rpartition(_FINAL_CHANNEL)[2]
    if channel and text[channel.end() :][:1].isupper():
        return None
    parts: list[str] = []
    begin, open_name = 0, ""
    for tag in TAG.finditer(text):
        name = next(tag[f"name{i}"] for i in range(1, 6) if tag[f"name{i}"]).lower()
        closes = any(tag[f"end{i}"] for i in range(1, 6))
        if not closes and not open_name:
            parts.append(text[begin : tag.start()])
            open_name = name
        elif closes and not open_name:
            parts, begin = [], tag.end()
        elif closes and name == open_name:
            begin, open_name = tag.end(), ""
    return None if open_name else "".join([*parts, text[begin:]])
