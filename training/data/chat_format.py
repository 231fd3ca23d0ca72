"""How one model is asked and how it answers, in tokens.

Text of users stays text: a prompt or an answer that spells a special token opens no turn and ends
none. Only what the chat template itself writes becomes special tokens.
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
from tailrace.formats.model.chat_template import template_reads_clock
from training.data.rendering import render_messages, today
from training.errors import DataError, ModelConfigError

_SPACE = re.compile(r"\s+")


class SpecialTextError(DataError):
    """Text that spells a special token, which the tokenizer cannot encode as text."""


@dataclass(frozen=True)
class TurnEnd:
    """The way a chat template ends the assistant's turn."""

    written: str
    """All that it writes after the answer."""
    taught: str
    """The part that is taught: up to its first special token, without which up to its last visible
    character."""
    token: int | None
    """The special token that ends it; None where the template writes none."""


class ChatFormat:
    """The token sequences of one model's conversations."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, clock: date | None = None) -> None:
        """``clock`` is the day that the chat template reads (default: today, UTC).

        Raises :class:`training.errors.ModelConfigError` when the template cannot render.
        """
        self.tokenizer = tokenizer
        self.clock = clock or today()
        # No text can contain what is drawn anew each time.
        self._nonce = secrets.token_hex(16)
        self._require_prompt()
        self.turn_end = self._find_turn_end()
        self._controls = self._find_controls()

    @property
    def end(self) -> int:
        """The token that ends a taught answer."""
        if self.turn_end.token is None:
            return int(self.tokenizer.eos_token_id)
        return self.turn_end.token

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end an answer: the tokenizer's own and the template's."""
        return frozenset({int(self.tokenizer.eos_token_id), self.end})

    @property
    def stop(self) -> tuple[str, ...]:
        """The text that ends an answer, where the template ends a turn with text alone."""
        ends_with_text = self.turn_end.token is None and self.turn_end.taught
        return (self.turn_end.taught,) if ends_with_text else ()

    @property
    def template_date(self) -> str | None:
        """The day that the template reads; None where it has no clock."""
        reads = template_reads_clock(self.tokenizer.get_chat_template())
        return self.clock.isoformat() if reads else None

    def token_of(self, text: str) -> int | None:
        """Return the special token that ``text`` is the whole of; None where it is not one."""
        ids = {token.content: id_ for id_, token in self.tokenizer.added_tokens_decoder.items()}
        return ids.get(text)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, without special ones other than marks of thinking."""
        return self.written([token for token in tokens if token not in self._silent])

    def written(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, with special ones."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def holds_token(self, text: str) -> bool:
        """Return whether a text has a special token in it, and more than that."""
        return any(token in text and token != text for token in self._controls)

    def prompt(self, text: str) -> list[int]:
        """Return the tokens that a model sees before it answers.

        Raises :class:`SpecialTextError`, and :class:`training.errors.ModelConfigError` when the
        template cannot render the prompt.
        """
        return self._encode(self._asked(self._marked(text)))

    def example(self, prompt: str, response: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a prompt, and those that a model learns to answer with.

        The response is what the template writes for it, thinking blocks included, as far as the
        template leaves it whole; it ends as the template ends a turn. Errors as :meth:`prompt`.
        """
        asked = self._asked(self._marked(prompt))
        answer = self._answer(self._marked(prompt), self._marked(response, teaches=True), asked)
        head, whole = self._encode(asked), self._encode(asked + answer)
        # Generation starts behind the prompt's tokens, which none of the answer's may change.
        tail = whole[len(head) :] if whole[: len(head)] == head else self._encode(answer)
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

    def _asked(self, marked: str) -> str:
        return self._render(marked, asks=True)

    def _conversation(self, prompt: str, response: str) -> str:
        """Return a prompt with its answer; nothing where the template refuses answers."""
        try:
            return self._render(prompt, response)
        except ModelConfigError:
            # Such a template serves to ask alone, which tells the truth about its errors.
            return ""

    def _answer(self, prompt: str, response: str, asked: str) -> str:
        """Return what follows a prompt that asks, up to the end of the turn."""
        whole, written = self._conversation(prompt, response), self.turn_end.written
        if whole.startswith(asked) and whole.endswith(written):
            answer = whole[len(asked) : len(whole) - len(written)]
            if _squeezed(response) == _squeezed(answer):
                return answer + self.turn_end.taught
        return _continue(asked, response) + self.turn_end.taught

    def _require_prompt(self) -> None:
        """Raise for a template that does not write what is asked."""
        if self._nonce not in self._asked(self._name("probe")).casefold():
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
        tokens = self._written_tokens(written)
        match = _any_of(tokens).search(written) if tokens else None
        if match is None:
            return TurnEnd(written, written.rstrip(), None)
        taught = written[: match.end()]
        if self._encode(f"a{taught}")[-1] != tokens[match[0]]:
            raise ModelConfigError(
                f"the tokenizer makes no token of the {match[0]} that ends a turn behind a word: "
                "declare it without single_word in tokenizer.json"
            )
        return TurnEnd(written, taught, tokens[match[0]])

    def _find_controls(self) -> dict[str, int]:
        """Return the tokens that users' text must not turn into, by their text.

        Special ones, and those that this template sets turns with though they are not declared
        special; not the marks of thinking, which answers may teach.
        """
        added = self.tokenizer.added_tokens_decoder
        special = {token.content: id_ for id_, token in added.items() if token.special}
        around = self._asked("?") + self.turn_end.written
        return special | self._written_tokens(around)

    def _written_tokens(self, text: str) -> dict[str, int]:
        """Return the added tokens in what a template writes: none blank, no marks of thinking."""
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
    def _places(self) -> dict[str, str]:
        """What stands for each control token's text while the template renders users' text."""
        return {text: self._name(id_) for text, id_ in self._controls.items()}

    def _marked(self, text: str, *, teaches: bool = False) -> str:
        """Return users' text with places for control tokens; an answer may teach to think."""
        places = {
            written: place
            for written, place in self._places.items()
            if not (teaches and TAG.fullmatch(written))
        }
        return _replace(text, places) if places else text

    @cached_property
    def _silent(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        special = [(id_, token.content) for id_, token in added if token.special]
        return frozenset(id_ for id_, text in special if not TAG.fullmatch(text))

    def _encode(self, rendered: str) -> list[int]:
        if self._nonce not in rendered.casefold():
            return list(
                self.tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"]
            )
        texts = {place: text for text, place in self._places.items()}
        if self._nonce in _replace(rendered, dict.fromkeys(texts, "")).casefold():
            raise SpecialTextError("the chat template changes text that spells a special token")
        return self._literal.encode(_replace(rendered, {**texts, **self._literal.names}))

    @cached_property
    def _literal(self) -> _LiteralTokenizer:
        names = {text: self._name(f"token-{id_}") for text, id_ in self._controls.items()}
        return _LiteralTokenizer(self.tokenizer.backend_tokenizer, names, self._controls)


class _LiteralTokenizer:
    """A tokenizer that knows its control tokens by other names, so that theirs are mere text."""

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
        # A renamed token is a new one to the tokenizer, which numbers it anew.
        self._ids = {self._tokenizer.token_to_id(name): id_ for name, id_ in originals.items()}
        self._spelled = {id_: text for text, id_ in controls.items() if id_ not in self._ids}
        """The control tokens that the tokenizer's own vocabulary holds, too."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text. Raises :class:`SpecialTextError`."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        spelled = {self._spelled[id_] for id_ in ids if id_ in self._spelled}
        if spelled:
            raise SpecialTextError(
                f"the tokenizer makes a special token of the text {', '.join(sorted(spelled))}"
            )
        return [self._ids.get(id_, id_) for id_ in ids]


def _continue(asked: str, response: str) -> str:
    """Return a response behind a prompt, out of the thinking block that the prompt has opened."""
    last = next(reversed([*TAG.finditer(asked)]), None)
    if last is None or asked[last.end() :].strip() or _closing(last[0]) == last[0]:
        return response
    opening, closing = last[0], _closing(last[0])
    if closing in response:
        return response.lstrip().removeprefix(opening)
    return f"\n{closing}\n\n{response}"


def _closing(opening: str) -> str:
    """Return the tag that closes a block of thinking; a tag that closes one is its own."""
    if "_of_" in opening:
        return opening.replace("begin_of", "end_of")
    return opening if opening[1] in "/|" else f"{opening[0]}/{opening[1:]}"


def _squeezed(text: str) -> str:
    """Return a text without what templates add to answers: white space and tags of thinking."""
    return _SPACE.sub("", TAG.sub("", text))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))


def _replace(text: str, replacements: Mapping[str, str]) -> str:
    return _any_of(replacements).sub(lambda match: replacements[match[0]], text)
