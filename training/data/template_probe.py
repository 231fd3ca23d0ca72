"""Probing of a chat template: how it ends turns, and the tokens that it writes around them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from tailrace.formats.data.thinking import TAG
from training.data.chat_template import ChatTemplate, RenderJob, render_all, render_template
from training.data.literal_text import any_of
from training.data.masking import TurnEnd
from training.errors import ModelConfigError


class TemplateProbe:
    """A chat template that renders short conversations with text that can be found again."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, plain: ChatTemplate, with_tools: ChatTemplate
    ) -> None:
        """Set the tokenizer, and its templates without and with tools."""
        self._tokenizer = tokenizer
        self._plain = plain
        self._with_tools = with_tools
        # Letters and digits, which templates do not escape.
        self._text = f"probe{secrets.token_hex(16)}"

    def require_prompt(self) -> None:
        """Raise for a template that cannot render a prompt.

        Raises:
            ModelConfigError: The template fails, or leaves out the prompt.
        """
        if self._text not in self._asked(self._text).casefold():
            raise ModelConfigError(
                "the model's chat template leaves the user's text out of the prompt: it must write "
                "messages whose content is text (message['content'])"
            )

    def takes_answers(self) -> bool:
        """Return False for a template that can only render prompts."""
        return self._answered(self._plain, {"content": self._text}, []) is not None

    def turn_end(self) -> TurnEnd:
        """Return the end of the assistant's turns.

        Raises:
            ModelConfigError: The tokenizer does not recognise the token that ends a turn.
        """
        eos = str(self._tokenizer.eos_token)
        written = self._after_probe(self._plain, {"content": self._text}, []) or ""
        tokens = self._added_tokens(written)
        match = any_of(tokens).search(written)
        if match is None:
            taught = written.rstrip()
            return TurnEnd(written, taught, None, self._ends({eos}))
        taught = written[: match.end()]
        ids = self._tokenizer(f"a{taught}", add_special_tokens=False, verbose=False)["input_ids"]
        if ids[-1] != tokens[match[0]]:
            raise ModelConfigError(
                f"the tokenizer does not recognise {match[0]}, which ends a turn, after a word: "
                "declare it without single_word in tokenizer.json"
            )
        return TurnEnd(written, taught, tokens[match[0]], self._ends({eos, match[0]}))

    def controls(self, end: TurnEnd) -> dict[str, int]:
        """Return the tokens that text of messages must not become, by their text.

        These are the special tokens, and further added tokens that the template writes.
        """
        added = self._tokenizer.added_tokens_decoder
        special = {token.content: id_ for id_, token in added.items() if token.special}
        around = self._added_tokens(self._asked("?") + end.written)
        source = {
            token.content: id_
            for id_, token in added.items()
            if (token.content in self._plain.text or token.content in self._with_tools.text)
            # Words and white space are in every template.
            and not token.content.isspace()
            and not token.content.isalnum()
        }
        return special | around | source

    def _ends(self, ends: set[str]) -> re.Pattern[str]:
        """Return the pattern of texts that end a turn, one that ends calls of tools included."""
        name, arguments = "probe", {"text": self._text}
        parameters = {"type": "object", "properties": {"text": {"type": "string"}}}
        function = {"name": name, "description": "Probe.", "parameters": parameters}
        call = {"id": "call00001", "type": "function"}
        message = {
            "content": "",
            "tool_calls": [{**call, "function": {"name": name, "arguments": arguments}}],
        }
        tools = [{"type": "function", "function": function}]
        answers = [
            self._answered(self._plain, {"content": self._text}, []),
            self._after_probe(self._with_tools, message, tools),
        ]
        return any_of({*ends, *(self._last_token(text or "", ends) for text in answers)} - {""})

    def _last_token(self, text: str, ends: set[str]) -> str:
        """Return the special token at the end of a text, unless it has one of ``ends``."""
        added = self._tokenizer.added_tokens_decoder.values()
        special = any_of(token.content for token in added if token.special)
        if any(token in text for token in ends):
            return ""
        last = next(reversed([*special.finditer(text)]), None)
        return last[0] if last is not None and not text[last.end() :].strip() else ""

    def _asked(self, text: str) -> str:
        job = RenderJob([{"role": "user", "content": text}], asks=True)
        return render_template(self._plain, job)

    def _after_probe(
        self, template: ChatTemplate, answer: Mapping[str, Any], tools: list[dict[str, Any]]
    ) -> str | None:
        """Return the text after the probe in an answer; None if the template leaves it out."""
        text = self._answered(template, answer, tools) or ""
        return text.rpartition(self._text)[2] if self._text in text else None

    def _answered(
        self, template: ChatTemplate, answer: Mapping[str, Any], tools: list[dict[str, Any]]
    ) -> str | None:
        """Return a prompt with its answer; None if the template refuses it."""
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", **answer}]
        # Templates that refuse answers can still render prompts, whose errors are reported.
        return render_all(template, [RenderJob(messages, tools)])[0].text

    def _added_tokens(self, text: str) -> dict[str, int]:
        """Return the added tokens in a text, without blank ones and thinking tags."""
        return {
            token.content: id_
            for id_, token in self._tokenizer.added_tokens_decoder.items()
            if token.content in text
            and not token.content.isspace()
            and not TAG.fullmatch(token.content)
        }
