"""Small chat templates, and conversations for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tests.unit.training.chat_folder import CHATML, chat_tokenizer
from training.data.chat_format import ChatFormat
from training.data.conversation import Conversation
from training.data.rendered_example import RenderedExample

TOOLS = (
    "{% if tools %}{{ '<|im_start|>tools\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m.reasoning_content is defined %}"
    "{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{% endif %}{{ m['content'] }}"
    "{% for call in m.tool_calls or [] %}"
    "{{ '<tool_call>\n' + (call.function | tojson) + '\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML with thinking and calls of tools."""

DROPS_THINKING = TOOLS.replace(
    "m.reasoning_content is defined", "m.reasoning_content is defined and loop.last"
)
"""A template that leaves out the thinking of all but the last message."""

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML that marks answers without the token that ends them."""

__all__ = ["CHATML", "DROPS_THINKING", "MARKED", "TOOLS"]


def chat(template: str = CHATML, **further: Any) -> ChatFormat:
    return ChatFormat(chat_tokenizer(template), **further)


def said(*contents: str, prompt_length: int = 1, **further: Any) -> Conversation:
    """Return a conversation of user and assistant in turn."""
    messages = [
        Message(Role.ASSISTANT if i % 2 else Role.USER, content)
        for i, content in enumerate(contents)
    ]
    return Conversation(messages, prompt_length, **further)


def calls(name: str, **arguments: Any) -> Message:
    """Return an assistant's message that calls a tool."""
    return Message(Role.ASSISTANT, tool_calls=[ToolCall(ToolFunction(name, arguments), id="1")])


def learnt(example: RenderedExample) -> list[str]:
    """Return the runs of characters whose tokens are learnt."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], example.mask, [0]])))
    return [
        example.text[example.spans[first, 0] : example.spans[last - 1, 1]]
        for first, last in edges.reshape(-1, 2)
    ]
