"""Text of messages that stays text: it never becomes a control token.

A message that spells a control token is rendered with placeholders in its place. The rendered
text is then encoded once, by a tokenizer in which the template's own control tokens have other
names, so that their spelling in messages is plain text.
"""

from __future__ import annotations

import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from tailrace.formats.data.thinking import TAG
from training.errors import DataError


class ConversationError(DataError):
    """A conversation that the model's chat template or tokenizer cannot take."""


class SpecialTextError(ConversationError):
    """Text that spells a special token, which the tokenizer cannot encode as text."""


@dataclass(frozen=True)
class EncodedText:
    """A text with its tokens."""

    text: str
    """The text."""
    tokens: NDArray[np.int32]
    """Token ids, [T]."""
    spans: NDArray[np.int64]
    """Begin and end of each token in the text, in characters, [T, 2].

    Tokens that share a character, such as the bytes of an emoji, each have all of it. White space
    that a tokenizer leaves out of its offsets belongs to the token after it.
    """


@dataclass(frozen=True)
class RenderedText:
    """A rendered text, in which placeholders may stand for control tokens in messages."""

    marked: str
    """The text with placeholders."""
    plain: str
    """The text itself."""
    renamed: str | None
    """The text with other names for the template's control tokens; None without placeholders."""
    _places: tuple[list[int], list[int], list[int]] = ([0], [0], [0])
    """Positions in ``marked``, ``plain`` and ``renamed`` where one of them changes its offset."""

    def plain_position(self, position: int) -> int:
        """Return the position in the text of a position in the text with placeholders."""
        marked, plain, _ = self._places
        return _moved(position, marked, plain)

    def plain_positions(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions in the text of positions in the text with other names."""
        _, plain, renamed = self._places
        begins = np.asarray(renamed)
        index = np.searchsorted(begins, positions, side="right") - 1
        moved = np.asarray(plain)[index] + positions - begins[index]
        limits = np.asarray([*plain[1:], len(self.plain)])
        limited: NDArray[np.int64] = np.minimum(moved, limits[index])
        return limited


class LiteralText:
    """Placeholders and encoding of text that spells control tokens."""

    def __init__(self, tokenizer: Tokenizer, controls: Mapping[str, int]) -> None:
        """Set the tokenizer, and its control tokens by their text."""
        self._tokenizer = tokenizer
        self._controls = controls
        # Random, so that no text can contain it.
        self._nonce = secrets.token_hex(16)
        # Assistants may write thinking tags themselves.
        answer = [text for text in controls if not TAG.fullmatch(text)]
        self._patterns = {False: any_of(controls), True: any_of(answer)}

    def name(self, what: object) -> str:
        """Return a text that no message contains."""
        return f"\ue000{self._nonce}-{what}\ue001"

    def protect(self, value: Any, *, teaches: bool = False) -> Any:
        """Return plain data with placeholders for control tokens in all texts, keys included.

        Data without any is returned as it is. With ``teaches``, thinking tags stay.
        """
        pattern = self._patterns[teaches]
        if isinstance(value, str):
            if pattern.search(value) is None:
                return value
            return pattern.sub(lambda match: self._placeholders[match[0]], value)
        if isinstance(value, dict):
            return {
                self.protect(key, teaches=teaches): self.protect(inner, teaches=teaches)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.protect(inner, teaches=teaches) for inner in value]
        return value

    def rendered(self, marked: str) -> RenderedText:
        """Return a rendered text that may have placeholders.

        Raises:
            SpecialTextError: The template has changed a placeholder.
        """
        if self._nonce not in marked.casefold():
            return RenderedText(marked, marked, None)
        texts = {place: text for text, place in self._placeholders.items()}
        return self._revealed(marked, texts)

    def _revealed(self, marked: str, texts: Mapping[str, str]) -> RenderedText:
        pattern = any_of([*texts, *self._renamed.names])
        plain: list[str] = []
        renamed: list[str] = []
        places: tuple[list[int], list[int], list[int]] = ([0], [0], [0])
        sizes = [0, 0, 0]

        def write(before: str, text: str, name: str) -> None:
            plain.append(text)
            renamed.append(name)
            for i, part in enumerate((before, text, name)):
                sizes[i] += len(part)
                places[i].append(sizes[i])

        end = 0
        for match in pattern.finditer(marked):
            between = marked[end : match.start()]
            write(between, between, between)
            text = texts.get(match[0])
            if text is None:
                write(match[0], match[0], self._renamed.names[match[0]])
            else:
                write(match[0], text, text)
            end = match.end()
        rest = marked[end:]
        write(rest, rest, rest)
        revealed = RenderedText(marked, "".join(plain), "".join(renamed), places)
        if self._nonce in revealed.plain.casefold():
            raise SpecialTextError("the chat template changes text that spells a special token")
        return revealed

    def encode(self, rendered: RenderedText) -> EncodedText:
        """Return the tokens of a rendered text, encoded as a whole.

        Raises:
            SpecialTextError: The text of a message becomes a control token.
        """
        if rendered.renamed is None:
            encoding = self._tokenizer.encode(rendered.plain, add_special_tokens=False)
            return EncodedText(rendered.plain, _ids(encoding.ids), _spans(encoding))
        encoding = self._renamed.encode(rendered.renamed)
        spans = rendered.plain_positions(_spans(encoding))
        return EncodedText(rendered.plain, _ids(self._renamed.ids(encoding)), spans)

    @cached_property
    def _placeholders(self) -> dict[str, str]:
        return {text: self.name(id_) for text, id_ in self._controls.items()}

    @cached_property
    def _renamed(self) -> _RenamedTokenizer:
        names = {text: self.name(f"token-{id_}") for text, id_ in self._controls.items()}
        return _RenamedTokenizer(self._tokenizer, names, self._controls)


class _RenamedTokenizer:
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

    def encode(self, text: str) -> Encoding:
        """Return the encoding of a text with renamed control tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def ids(self, encoding: Encoding) -> list[int]:
        """Return the original token ids of an encoding.

        Raises:
            SpecialTextError: The text becomes a control token.
        """
        spelled = {self._spelled[id_] for id_ in encoding.ids if id_ in self._spelled}
        if spelled:
            raise SpecialTextError(
                f"the tokenizer turns text into a special token: {', '.join(sorted(spelled))}"
            )
        return [self._ids.get(id_, id_) for id_ in encoding.ids]


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches any of some texts, longer ones first."""
    # Thousands of alternatives are slow to try at each character, so two characters choose few.
    rests: dict[str, list[str]] = {}
    for text in sorted(texts, key=len, reverse=True):
        rests.setdefault(text[:2], []).append(re.escape(text[2:]))
    groups = sorted(rests.items(), key=lambda group: len(group[0]), reverse=True)
    return re.compile("|".join(f"{re.escape(b)}(?:{'|'.join(r)})" for b, r in groups) or "(?!)")


def _ids(ids: list[int]) -> NDArray[np.int32]:
    return np.asarray(ids, np.int32)


def _spans(encoding: Encoding) -> NDArray[np.int64]:
    # Much faster than an array of the list of pairs.
    spans = np.fromiter(chain.from_iterable(encoding.offsets), np.int64).reshape(-1, 2)
    ends = np.maximum.accumulate(spans[:, 1])
    # Byte-level tokenizers may leave white space out of their offsets.
    begins = np.minimum(spans[:, 0], np.concatenate([[0], ends[:-1]]))
    return np.stack([begins, ends], axis=1)


def _moved(position: int, begins: list[int], targets: list[int]) -> int:
    index = bisect_right(begins, position) - 1
    return targets[index] + position - begins[index]
