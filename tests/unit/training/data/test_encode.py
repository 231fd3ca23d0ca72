from __future__ import annotations

import logging
from typing import Any

import pytest

from tailrace.formats.data.trace import Step, Trace
from tailrace.formats.spec.run_spec import Overlong
from training.data.chat_format import ChatFormat, SpecialTextError
from training.data.encode import encode_records
from training.data.rendering import render_prompt, render_response
from training.data.tokenizer import encode
from training.errors import DataError, OverlongError


def trace(prompt: str, content: str = "c") -> Trace:
    return Trace(prompt=prompt, answer="a", steps=[Step(0, "reasoning", content)], id=prompt)


LONG = trace("p", "word " * 60)


def test_prompt_and_response_are_encoded_apart_and_eos_is_learned(
    tokenizer: Any, traces: list[Trace]
) -> None:
    encoded = encode_records(traces, ChatFormat(tokenizer), 64, Overlong.REFUSE)
    for example, original in zip(encoded.examples, traces, strict=True):
        prompt = encode(tokenizer, render_prompt(tokenizer, original.prompt))
        response = encode(tokenizer, render_response(original))
        assert list(example.tokens) == [*prompt, *response, tokenizer.eos_token_id]
        assert int(example.mask.argmax()) == len(prompt)
    assert encoded.overlong == 0


def test_refusing_names_the_count_and_the_ways_out(tokenizer: Any) -> None:
    with pytest.raises(OverlongError, match=r"2 of 3 .*longer than max_seq_length 64 .*truncate"):
        encode_records([LONG, trace("q"), LONG], ChatFormat(tokenizer), 64, Overlong.REFUSE)


def test_truncating_cuts_the_response(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoded = encode_records([LONG, trace("q")], ChatFormat(tokenizer), 64, Overlong.TRUNCATE)
    assert encoded.overlong == 1
    first = encoded.examples[0]
    assert len(first.tokens) == 64
    assert tokenizer.eos_token_id not in first.tokens
    assert "1 of 2 examples" in caplog.text


def test_truncating_refuses_to_learn_nothing(tokenizer: Any) -> None:
    with pytest.raises(OverlongError, match="truncation would leave no response in 1"):
        encode_records([trace("x" * 200)], ChatFormat(tokenizer), 64, Overlong.TRUNCATE)


def test_dropping(tokenizer: Any) -> None:
    encoded = encode_records([LONG, trace("q")], ChatFormat(tokenizer), 64, Overlong.DROP)
    assert (len(encoded.examples), encoded.overlong) == (1, 1)
    with pytest.raises(DataError, match="all 1 examples were dropped"):
        encode_records([LONG], ChatFormat(tokenizer), 64, Overlong.DROP)


def test_text_that_cannot_stay_text_is_refused_with_its_count(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = ChatFormat(tokenizer)

    def example(prompt: str, response: str) -> tuple[list[int], list[int]]:
        if "<end>" in prompt:
            raise SpecialTextError("the tokenizer makes a special token of the text <end>")
        return [1], [2]

    monkeypatch.setattr(chat, "example", example)
    traces = [trace("a <end>"), trace("q"), trace("<end>")]
    with pytest.raises(DataError, match=r"2 of 3 examples .* The first is a <end>: the tokenizer"):
        encode_records(traces, chat, 64, Overlong.REFUSE)
