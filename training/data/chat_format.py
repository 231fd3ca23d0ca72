"""The chat format of a model: prompts and answers as tokens.

Users' text stays text: a special token spelled in a prompt or an answer neither opens nor ends a
turn. Only the text of the chat template itself becomes special tokens.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from tailrace.formats.data.thinking import TAG
from tailrace.formats.data.tool_calls import TOOL_MARKERS
from tailrace.formats.model.chat_template import template_reads_clock
from training.data.rendering import render_messages, today
from training.errors import DataError, ModelConfigError

_SPACE = re.compile(r"\s+")


class SpecialTextError(DataError):
    """Text that spells a special token, which the tokenizer cannot encode as text."""


@dataclass(frozen=True)
class TurnEnd:
    """End of the assistant's turn in a chat template."""

    written: str
    """All text of the template after the answer."""
    taught: str
    """The part that a model is trained to write: up to its first special token, or up to its last
    visible character when there is none."""
    token: int | None
    """Special token that ends the turn; None for a template that writes none."""


class ChatFormat:
    """The token sequences of one model's conversations."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, clock: date | None = None) -> None:
        """Find out how the chat template writes turns.

        Args:
            tokenizer: Tokenizer with the chat template.
            clock: Day that the chat template reads (default: today, UTC).

        Raises:
            ModelConfigError: The template cannot render a prompt.
        """
        self.tokenizer = tokenizer
        self.clock = clock or today()
        # Random, so that no text can contain it.
        self._nonce = secrets.token_hex(16)
        self._require_prompt()
        self.turn_end = self._find_turn_end()
        self._controls = self._find_controls()

    @property
    def end(self) -> int:
        """Token that ends an answer in training."""
        if self.turn_end.token is None:
            return int(self.tokenizer.eos_token_id)
        return self.turn_end.token

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's and the template's."""
        return frozenset({int(self.tokenizer.eos_token_id), self.end})

    @property
    def stop(self) -> tuple[str, ...]:
        """Text that ends an answer, for templates that end turns without a special token."""
        ends_with_text = self.turn_end.token is None and self.turn_end.taught
        return (self.turn_end.taught,) if ends_with_text else ()

    @property
    def template_date(self) -> str | None:
        """Day that the template reads; None for a template without a clock."""
        reads = template_reads_clock(self.tokenizer.get_chat_template())
        return self.clock.isoformat() if reads else None

    def token_of(self, text: str) -> int | None:
        """Return the id of the special token ``text``, or None if it is not one."""
        ids = {token.content: id_ for id_, token in self.tokenizer.added_tokens_decoder.items()}
        return ids.get(text)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; of special tokens, only tags of thinking and of tool calls."""
        return self.written([token for token in tokens if token not in self._silent])

    def written(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, special tokens included."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def mixes_in_token(self, text: str) -> bool:
        """Return whether a text has a special token in it and other text."""
        return any(token in text and token != text for token in self._controls)

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a prompt, up to the begin of the answer.

        Raises:
            SpecialTextError: The prompt spells a special token and cannot be encoded as text.
            ModelConfigError: The template cannot render the prompt.
        """
        return self._encode(self._open_turn(self._with_placeholders(text)))

    def example(self, prompt: str, response: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a prompt, and those of the response that a model is trained on.

        The response has the template's form, thinking blocks included, unless the template changes
        its text; it ends with the template's end of turn. Errors as :meth:`prompt`.
        """
        opened = self._open_turn(self._with_placeholders(prompt))
        answer = self._answer(
            self._with_placeholders(prompt), self._with_placeholders(response, teaches=True), opened
        )
        head, tokens = self._encode(opened), self._encode(opened + answer)
        # Generation starts after the prompt's tokens, so the answer must not change them.
        tail = tokens[len(head) :] if tokens[: len(head)] == head else self._encode(answer)
        if self.turn_end.token is None:
            tail = [*tail, self.end]
        return head, tail

    def _render(self, *contents: str, asks: bool = False) -> str:
        roles = ("user", "assistant")
        messages = [
            {"role": role, "content": content}
            for role, content in zip(roles, contents, strict=False)
        ]
        return render_messages(self.tokenizer, messages, self.clock, asks=asks)

    def _open_turn(self, marked: str) -> str:
        return self._render(marked, asks=True)

    def _conversation(self, prompt: str, response: str) -> str:
        """Return a prompt with its answer; empty for a template that refuses answers."""
        try:
            return self._render(prompt, response)
        except ModelConfigError:
            # Such a template can still render prompts, whose errors are reported.
            return ""

    def _answer(self, prompt: str, response: str, opened: str) -> str:
        """Return the text from the end of the prompt to the end of the turn."""
        conversation, written = self._conversation(prompt, response), self.turn_end.written
        if conversation.startswith(opened) and conversation.endswith(written):
            answer = conversation[len(opened) : len(conversation) - len(written)]
            if _without_spaces(response) == _without_spaces(answer):
                return answer + self.turn_end.taught
        return _continue(opened, response) + self.turn_end.taught

    def _require_prompt(self) -> None:
        """Raise for a template that leaves out the prompt."""
        if self._nonce not in self._open_turn(self._name("probe")).casefold():
            raise ModelConfigError(
                "the model's chat template leaves the user's text out of the prompt: it must write "
                "messages whose content is text (message['content'])"
            )

    def _find_turn_end(self) -> TurnEnd:
        probe = self._name("probe")
        rendered = self._conversation("?", probe)
        if probe not in rendered:
            return TurnEnd("", "", None)
        written = rendered.rpartition(probe)[2]
        tokens = self._template_tokens(written)
        match = _any_of(tokens).search(written) if tokens else None
        if match is None:
            return TurnEnd(written, written.rstrip(), None)
        taught = written[: match.end()]
        if self._encode(f"a{taught}")[-1] != tokens[match[0]]:
            raise ModelConfigError(
                f"the tokenizer does not recognise {match[0]}, which ends a turn, after a word: "
                "declare it without single_word in tokenizer.json"
            )
        return TurnEnd(written, taught, tokens[match[0]])

    def _find_controls(self) -> dict[str, int]:
        """Return the tokens that users' text must not become, by their text.

        These are the special tokens, and further tokens that the template writes around turns;
        thinking tags are left out, because answers may have them.
        """
        added = self.tokenizer.added_tokens_decoder
        special = {token.content: id_ for id_, token in added.items() if token.special}
        around = self._open_turn("?") + self.turn_end.written
        return special | self._template_tokens(around)

    def _template_tokens(self, text: str) -> dict[str, int]:
        """Return the added tokens in a template's text, without blank ones and thinking tags."""
        added = self.tokenizer.added_tokens_decoder.items()
        return {
            token.content: id_
            for id_, token in added
            if token.content in text
            and not token.content.isspace()
            and not TAG.fullmatch(token.content)
        }

    def _name(self, what: object) -> str:
        return f"\ue000{self._nonce}-{what}\ue001"

    @cached_property
    def _placeholders(self) -> dict[str, str]:
        """Placeholders for the texts of control tokens while the template renders users' text."""
        return {text: self._name(id_) for text, id_ in self._controls.items()}

    def _with_placeholders(self, text: str, *, teaches: bool = False) -> str:
        """Return users' text with placeholders for control tokens; answers keep thinking tags."""
        places = {
            written: place
            for written, place in self._placeholders.items()
            if not (teaches and TAG.fullmatch(written))
        }
        return _replace(text, places) if places else text

    @cached_property
    def _silent(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        special = [(id_, token.content) for id_, token in added if token.special]
        return frozenset(
            id_ for id_, text in special if text not in TOOL_MARKERS and not TAG.fullmatch(text)
        )

    def _encode(self, rendered: str) -> list[int]:
        if self._nonce not in rendered.casefold():
            return list(
                self.tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"]
            )
        texts = {place: text for text, place in self._placeholders.items()}
        if self._nonce in _replace(rendered, dict.fromkeys(texts, "")).casefold():
            raise SpecialTextError("the chat template changes text that spells a special token")
        return self._literal.encode(_replace(rendered, {**texts, **self._literal.names}))

    @cached_property
    def _literal(self) -> _LiteralTokenizer:
        names = {text: self._name(f"token-{id_}") for text, id_ in self._controls.items()}
        return _LiteralTokenizer(self.tokenizer.backend_tokenizer, names, self._controls)


class _LiteralTokenizer:
    """A tokenizer with renamed control tokens, so that their original texts are plain text."""

    def __init__(
        self, original: Tokenizer, names: Mapping[str, str], controls: Mapping[str, int]
    ) -> None:
        self.names = names
        """The name of each control token, by its text."""
        content = json.loads(original.to_str())
        originals = {}
        for token in content["added_tokens"]:
            text = token["content"]
            token["content"] = names.get(text, text)
            originals[token["content"]] = token["id"]
        self._tokenizer = Tokenizer.from_str(json.dumps(content))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # The tokenizer assigns new ids to renamed tokens.
        self._ids = {self._tokenizer.token_to_id(name): id_ for name, id_ in originals.items()}
        self._spelled = {id_: text for text, id_ in controls.items() if id_ not in self._ids}
        """Control tokens that are also in the tokenizer's vocabulary."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text.

        Raises:
            SpecialTextError: The text becomes a control token.
        """
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        spelled = {self._spelled[id_] for id_ in ids if id_ in self._spelled}
        if spelled:
            raise SpecialTextError(
                f"the tokenizer turns text into a special token: {', '.join(sorted(spelled))}"
            )
        return [self._ids.get(id_, id_) for id_ in ids]


def _continue(opened: str, response: str) -> str:
    """Return a response that first closes the thinking block that the prompt has opened."""
    last = next(reversed([*TAG.finditer(opened)]), None)
    if last is None or opened[last.end() :].strip() or _closing(last[0]) == last[0]:
        return response
    opening, closing = last[0], _closing(last[0])
    if closing in response:
        return response.lstrip().removeprefix(opening)
    return f"\n{closing}\n\n{response}"


def _closing(opening: str) -> str:
    """Return the closing tag for a thinking tag; a closing tag is returned unchanged."""
    if "_of_" in opening:
        return opening.replace("begin_of", "end_of")
    return opening if opening[1] in "/|" else f"{opening[0]}/{opening[1:]}"


def _without_spaces(text: str) -> str:
    """Return a text without white space and thinking tags, which templates add to answers."""
    return _SPACE.sub("", TAG.sub("", text))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))


def _replace(text: str, replacements: Mapping[str, str]) -> str:
    return _any_of(replacements).sub(lambda match: replacements[match[0]], text)
