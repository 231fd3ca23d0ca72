from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tailrace.formats.data.prediction import FinishReason
from tests.unit.training.chat_folder import chat_tokenizer
from training.data.chat_format import ChatFormat
from training.generate.stopping import find_stop
from training.serving.jobs import Piece
from training.serving.text import AnswerText


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    return ChatFormat(chat_tokenizer())


def tokens_of(chat: ChatFormat, text: str) -> list[int]:
    return list(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def growth(chat: ChatFormat, tokens: Sequence[int], stops: Sequence[str] = ()) -> list[str]:
    """The text after each token, and after the end."""
    answer = AnswerText(chat.text, stops)
    texts = []
    for token in tokens:
        ended = answer.add(token)
        texts.append(answer.text)
        if ended:
            return texts
    answer.end()
    return [*texts, answer.text]


@pytest.mark.parametrize("text", ["plain", "a é 漢字 😀!", "😀😀😀", "\u00a0x\ufffdy", ""])
def test_the_text_grows_to_the_whole_without_broken_characters(chat: ChatFormat, text: str) -> None:
    tokens = tokens_of(chat, text)
    texts = growth(chat, tokens)
    assert texts[-1] == text == chat.text(tokens)
    assert all(text.startswith(part) for part in texts)


def test_half_a_character_at_the_end_is_shown_as_such(chat: ChatFormat) -> None:
    tokens = tokens_of(chat, "a😀")[:-1]
    assert growth(chat, tokens)[-1] == chat.text(tokens) == "a\ufffd"


def test_bytes_that_are_no_text_are_decoded_in_the_end(chat: ChatFormat) -> None:
    half = tokens_of(chat, "é")[0]
    texts = growth(chat, [half] * 200)
    assert set(texts[-1]) == {"\ufffd"}
    assert len(texts[100]) > 0


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("one two three", ["two"]),
        ("one\n\ntwo", ["\n\n"]),
        ("abcabd", ["abd"]),
        ("aaab", ["aab", "b"]),
        ("x😀y", ["😀"]),
        ("never", ["absent", "ver!"]),
    ],
)
def test_stops_are_those_of_the_batch_generator(
    chat: ChatFormat, text: str, stops: list[str]
) -> None:
    tokens = tokens_of(chat, text)
    expected = find_stop(tokens, 0, stops, chat.text)
    answer = AnswerText(chat.text, stops)
    reason = answer.extend(Piece(0, tokens, (0.0,) * len(tokens), FinishReason.LENGTH))
    if expected is None:
        assert (answer.text, answer.count, reason) == (text, len(tokens), "length")
    else:
        assert (answer.count, answer.text, reason) == (*expected, "stop")


def test_the_begin_of_a_stop_is_held_back(chat: ChatFormat) -> None:
    texts = growth(chat, tokens_of(chat, "ab#x##"), ["##"])
    assert not any(part.endswith("#") for part in texts)
    assert texts[-1] == "ab#x"


def test_what_is_held_back_comes_at_the_end(chat: ChatFormat) -> None:
    assert growth(chat, tokens_of(chat, "ab#"), ["##"])[-1] == "ab#"


def test_a_stop_token_ends_the_text_and_counts(chat: ChatFormat) -> None:
    end: Any = chat.token_of("<|im_end|>")
    answer = AnswerText(chat.text, (), {end})
    assert answer.extend(Piece(0, [*tokens_of(chat, "ab"), end, end], [0.0] * 4)) == "stop"
    assert answer.text == "ab"
    assert answer.count == len(tokens_of(chat, "ab")) + 1
    assert end not in answer.tokens


def test_the_end_token_is_counted_but_not_shown(chat: ChatFormat) -> None:
    answer = AnswerText(chat.text)
    tokens = [*tokens_of(chat, "ab"), chat.end]
    assert answer.extend(Piece(0, tokens, [0.0] * len(tokens), FinishReason.EOS)) == "stop"
    assert (answer.text, answer.count) == ("ab", len(tokens))
