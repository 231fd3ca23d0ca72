"""Tokenizer and conversations with which the shipped chat templates are compared."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from tailrace.formats.catalog import CHAT_TEMPLATES
from tailrace.formats.data.record import ChatRecord
from tailrace.formats.schema import parse
from training.chat_templates import shipped_template
from training.data.conversation import Conversation, conversation_of
from training.data.rendered_example import RenderedExample
from training.data.tokenizer import train_tokenizer

GOLDENS = Path(__file__).parent / "goldens"

MARK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")

MARKED = tuple(name for name in CHAT_TEMPLATES if MARK.search(shipped_template(name)))

TOOLS = ("llama3", "mistral", "qwen2.5", "qwen3", "smollm2-tools", "smollm3")
"""Templates with a form for tools."""

SPECIAL = (
    *("<|im_start|>", "<|im_end|>", "<|im_sep|>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    *("[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    *("<|system|>", "<|user|>", "<|assistant|>"),
)
PLAIN = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
"""Added tokens that are not special, as in Qwen 3."""

BEGIN_AND_END = {
    "chatml": (None, "<|im_end|>"),
    "gemma3": ("<bos>", "<eos>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral": ("<s>", "</s>"),
    "olmo2": ("<|endoftext|>", "<|endoftext|>"),
    "phi4": ("<|endoftext|>", "<|im_end|>"),
    "qwen2.5": (None, "<|im_end|>"),
    "qwen3": (None, "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "smollm2-tools": ("<|im_start|>", "<|im_end|>"),
    "smollm3": (None, "<|im_end|>"),
}
"""The models' tokens at the begin and the end of a text."""


def without_marks(name: str) -> str:
    """Return a shipped template without its ``{% generation %}`` blocks."""
    return MARK.sub(
        lambda mark: mark[0].replace("endgeneration", "endif").replace("generation", "if true"),
        shipped_template(name),
    )


@functools.cache
def small_tokenizer(name: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with the control tokens of every template.

    It has the chat template of that name, or ``template``, and its begin and end of text.
    """
    texts = ["the user asks the assistant for a sum of numbers, and it calls a tool named add"] * 9
    tokenizer = train_tokenizer(texts, 300, 4096)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in PLAIN])
    begin, end = BEGIN_AND_END[name]
    tokenizer.bos_token, tokenizer.eos_token = begin, end
    tokenizer.chat_template = template or shipped_template(name)
    return tokenizer


def marked_text(example: RenderedExample) -> str:
    """Return the text of an example with brackets around what is learnt."""
    parts, position, is_learnt = [], 0, False
    for (begin, end), learns in zip(example.spans, example.mask, strict=True):
        if learns != is_learnt:
            parts.append("⟦" if learns else "⟧")
            is_learnt = bool(learns)
        parts.append(example.text[max(begin, position) : end])
        position = max(position, end)
    return "".join([*parts, "⟧" if is_learnt else ""])


@dataclass(frozen=True)
class Case:
    """A conversation with the variables for the template."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def conversation(self) -> Conversation:
        """The conversation as training takes it."""
        record = {"messages": self.messages, "tools": self.tools}
        return conversation_of(parse(ChatRecord, record))

    @property
    def plain(self) -> list[dict[str, Any]]:
        """The messages as transformers takes them."""
        return [{k: v for k, v in message.items() if k != "weight"} for message in self.messages]


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str, **keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **keys}


def _call(**arguments: Any) -> dict[str, Any]:
    return {
        "id": "call00001",
        "type": "function",
        "function": {"name": "add", "arguments": arguments},
    }


_RESULT = {"role": "tool", "content": "5", "tool_call_id": "call00001", "name": "add"}
_NUMBER = {"type": "integer"}
_ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"type": "object", "properties": {"a": _NUMBER, "b": _NUMBER}},
    },
}
_TWO = [_user("Hi"), _assistant("Hello 🙂"), _user("2 + 3?"), _assistant("It is 5.")]
_THOUGHTS = [
    _user("Hi"),
    _assistant("Hello", reasoning_content="A greeting."),
    _user("2 + 3?"),
    _assistant("5", reasoning_content="Count: 3, 4, 5."),
]

CASES = {
    "single": Case([_user("2 + 3?"), _assistant("5")]),
    "multi": Case(_TWO),
    "system": Case([{"role": "system", "content": "Be brief."}, *_TWO]),
    "developer": Case([{"role": "developer", "content": "Be brief."}, *_TWO[2:]]),
    "weight": Case([_user("Hi"), _assistant("Go away", weight=0), *_TWO[2:]]),
    "reasoning": Case(_THOUGHTS),
    "tools": Case(
        [
            _user("2 + 3?"),
            _assistant("", tool_calls=[_call(a=2, b=3)]),
            _RESULT,
            _assistant("It is 5."),
        ],
        [_ADD],
    ),
    "thinking-off": Case(_TWO[2:], kwargs={"enable_thinking": False}),
    "thinking-on": Case(_THOUGHTS[2:], kwargs={"enable_thinking": True}),
    "thinking-kept": Case(_THOUGHTS, kwargs={"preserve_thinking": True}),
}
"""Conversations by name."""


def cases_of(name: str) -> list[str]:
    """Return the names of the cases that a template renders in its own way."""
    left_out = set()
    if name not in TOOLS:
        left_out |= {"tools"}
    if name not in ("qwen3", "smollm3"):
        left_out |= {"thinking-off", "thinking-on"}
    if name != "qwen3":
        left_out |= {"thinking-kept"}
    return [case for case in CASES if case not in left_out]
