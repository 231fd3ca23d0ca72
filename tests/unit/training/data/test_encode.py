from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
)
from tailrace.formats.data.trace import Step, Trace
from tailrace.formats.spec.methods import SftSpec, TrainOn
from tailrace.formats.spec.run_spec import Overlong
from tailrace.formats.spec.train_spec import TrainSpec
from tests.unit.training.chat_folder import CHATML, chat_tokenizer
from training.data.chat_format import ChatFormat, ConversationError, SpecialTextError
from training.data.encode import EncodedExamples, Encoding, encode_records
from training.data.rendering import render_prompt, render_response
from training.data.tokenizer import encode
from training.errors import DataError, OverlongError

FORGETFUL = CHATML.replace(
    "m['content']",
    "(m['content'] if loop.last or m['role'] != 'assistant' else m['content'].split('|')[-1])",
)
"""A template that drops the begin of earlier answers."""


def trace(prompt: str, content: str = "c") -> Trace:
    return Trace(prompt=prompt, answer="a", steps=[Step(0, "reasoning", content)], id=prompt)


LONG = trace("p", "word " * 60)


def chat(*turns: str, id_: str = "x", **answer: Any) -> ChatRecord:
    """Return a conversation of user and assistant in turn; ``answer`` is for all answers."""
    roles = (Role.USER, Role.ASSISTANT)
    messages = [
        Message(roles[i % 2], text, **(answer if i % 2 else {})) for i, text in enumerate(turns)
    ]
    return ChatRecord(messages, id=id_)


@pytest.fixture(scope="module")
def chatml() -> ChatFormat:
    return ChatFormat(chat_tokenizer())


def learnt(chat: ChatFormat, encoded: EncodedExamples) -> list[str]:
    """Return the learnt text of each example."""
    return [chat.written(e.tokens[e.mask].tolist()) for e in encoded.examples]


def test_prompt_and_response_of_traces_are_encoded_and_eos_is_learned(
    tokenizer: Any, traces: list[Trace]
) -> None:
    encoded = encode_records(traces, ChatFormat(tokenizer), Encoding(64))
    for example, original in zip(encoded.examples, traces, strict=True):
        prompt = encode(tokenizer, render_prompt(tokenizer, original.prompt))
        response = encode(tokenizer, render_response(original))
        assert list(example.tokens) == [*prompt, *response, tokenizer.eos_token_id]
        assert int(example.mask.argmax()) == len(prompt)
    assert encoded.overlong == 0


@pytest.mark.parametrize(
    ("record", "train_on", "expected"),
    [
        (chat("q", "one", "r", "two"), None, "one<|im_end|>two<|im_end|>"),
        (chat("q", "one", "r", "two"), TrainOn.LAST_ASSISTANT, "two<|im_end|>"),
        (CompletionRecord("q", "one", id="x"), None, "one<|im_end|>"),
        (CompletionRecord(chat("q", "one", "r").messages, "two"), None, "two<|im_end|>"),
        (
            CompletionRecord(chat("q", "one", "r").messages, "two"),
            TrainOn.ALL_ASSISTANT,
            "one<|im_end|>two<|im_end|>",
        ),
        (CompletionRecord("", "all of it"), None, "all of it<|endoftext|>"),
        (PreferenceRecord("q", "good", "bad"), None, "good<|im_end|>"),
        (FeedbackRecord("q", "good", True), None, "good<|im_end|>"),
        (trace("q"), None, "c\nAnswer: a<|im_end|>"),
    ],
)
def test_every_kind_with_an_answer_is_learnt(
    chatml: ChatFormat, record: Record, train_on: TrainOn | None, expected: str
) -> None:
    encoded = encode_records([record], chatml, Encoding(128, train_on=train_on))
    assert learnt(chatml, encoded) == [expected]


def test_everything_includes_the_prompt_and_the_template(chatml: ChatFormat) -> None:
    encoding = Encoding(128, train_on=TrainOn.EVERYTHING)
    encoded = encode_records([chat("q", "one")], chatml, encoding)
    assert learnt(chatml, encoded)[0].startswith("<|im_start|>user\nq<|im_end|>")
    assert set(encoded.totals.trained_by_role) == {"user", "assistant", "template"}


@pytest.mark.parametrize(
    "record", [PromptRecord("q", id="x"), FeedbackRecord("q", "bad", label=False, id="x")]
)
def test_a_record_without_an_answer_to_imitate_is_refused(
    chatml: ChatFormat, record: Record
) -> None:
    with pytest.raises(DataError, match=r"x has no answer to imitate: .* completion"):
        encode_records([record], chatml, Encoding(128))


def test_the_spec_decides_how_records_are_encoded() -> None:
    sft = SftSpec(overlong=Overlong.DROP, train_on=TrainOn.EVERYTHING, allow_special_tokens=True)
    spec = TrainSpec(max_steps=1, max_seq_length=40, sft=sft)
    assert Encoding.of(spec) == Encoding(40, Overlong.DROP, TrainOn.EVERYTHING, True)
    assert Encoding.of(TrainSpec(max_steps=1, max_seq_length=40)) == Encoding(40)


def test_special_tokens_in_messages_are_text_unless_allowed(chatml: ChatFormat) -> None:
    record = CompletionRecord("q <|im_end|>", "a")
    plain, special = (
        encode_records([record], chatml, Encoding(128, allow_special_tokens=allowed))
        for allowed in (False, True)
    )
    end = chatml.token_of("<|im_end|>")
    counts = [int(np.sum(e.examples[0].tokens == end)) for e in (plain, special)]
    assert counts == [2, 3]


def test_refusing_names_the_count_and_the_ways_out(tokenizer: Any) -> None:
    ways = r"2 of 3 .*longer than max_seq_length 64 .*truncate, drop or drop_turns"
    with pytest.raises(OverlongError, match=ways):
        encode_records([LONG, trace("q"), LONG], ChatFormat(tokenizer), Encoding(64))


def test_truncating_cuts_the_response(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    encoding = Encoding(64, Overlong.TRUNCATE)
    with caplog.at_level(logging.WARNING):
        encoded = encode_records([LONG, trace("q")], ChatFormat(tokenizer), encoding)
    assert encoded.overlong == 1
    first = encoded.examples[0]
    assert len(first.tokens) == 64
    assert tokenizer.eos_token_id not in first.tokens
    assert "1 of 2 examples" in caplog.text


def test_truncating_refuses_to_learn_nothing(tokenizer: Any) -> None:
    encoding = Encoding(64, Overlong.TRUNCATE)
    with pytest.raises(OverlongError, match="truncation would leave nothing to learn in 1"):
        encode_records([trace("x" * 200)], ChatFormat(tokenizer), encoding)


def test_dropping(tokenizer: Any) -> None:
    encoding = Encoding(64, Overlong.DROP)
    encoded = encode_records([LONG, trace("q")], ChatFormat(tokenizer), encoding)
    assert (len(encoded.examples), encoded.overlong) == (1, 1)
    with pytest.raises(DataError, match="all 1 examples were dropped"):
        encode_records([LONG], ChatFormat(tokenizer), encoding)


def test_dropping_turns_keeps_the_system_message_and_the_newest_exchanges(
    chatml: ChatFormat, caplog: pytest.LogCaptureFixture
) -> None:
    exchanges = [text for i in range(5) for text in (f"question {i}", f"answer {i}")]
    long = ChatRecord([Message(Role.SYSTEM, "be kind"), *chat(*exchanges).messages], id="x")
    hopeless = chat("q" * 300, "a", id_="y")
    encoding = Encoding(80, Overlong.DROP_TURNS)
    with caplog.at_level(logging.WARNING):
        encoded = encode_records([long, hopeless, chat("q", "a", id_="z")], chatml, encoding)
    first, last = encoded.examples
    text = chatml.written(first.tokens.tolist())
    assert text.startswith("<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nquestion 3")
    assert len(first.tokens) <= 80
    assert chatml.written(last.tokens[last.mask].tolist()) == "a<|im_end|>"
    assert encoded.totals.left_out_exchanges == 3
    assert "2 of 3 examples are longer than max_seq_length 80" in caplog.text
    assert "3 exchanges left out, and 1 example whose last exchange" in caplog.text


def test_turns_that_the_template_rewrites_are_refused_with_the_way_out() -> None:
    format_ = ChatFormat(chat_tokenizer(FORGETFUL))
    record = chat("q", "thought|one", "r", "thought|two")
    with pytest.raises(DataError) as caught:
        encode_records([chat("q", "a"), record], format_, Encoding(128))
    message = str(caught.value)
    assert "1 assistant turns in 1 of 2 examples cannot be learnt" in message
    assert "set train_on: last_assistant" in message
    assert "The first is x (messages[1])" in message
    encoding = Encoding(128, train_on=TrainOn.LAST_ASSISTANT)
    encoded = encode_records([record], format_, encoding)
    assert learnt(format_, encoded) == ["thought|two<|im_end|>"]


def test_examples_without_a_trained_token_are_left_out_and_counted(
    chatml: ChatFormat, caplog: pytest.LogCaptureFixture
) -> None:
    silent = chat("q", "a", weight=0)
    with caplog.at_level(logging.INFO):
        encoded = encode_records([silent, chat("q", "a"), silent], chatml, Encoding(128))
    assert len(encoded.examples) == 1
    assert (encoded.totals.examples, encoded.totals.untrained) == (3, 2)
    assert "2 of 3 examples have no trained token and are left out" in caplog.text
    assert "3 examples: " in caplog.text
    assert "2 without a trained token" in caplog.text


def test_an_empty_mask_is_refused_in_one_line(chatml: ChatFormat) -> None:
    silent = chat("q", "a", weight=0)
    with pytest.raises(DataError, match=r"none of 2 examples has a token to learn") as caught:
        encode_records([silent, silent], chatml, Encoding(128))
    assert "\n" not in str(caught.value)
    assert "train_on: all_assistant" in str(caught.value)


def test_text_that_cannot_stay_text_is_refused_with_its_count(
    chatml: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_all = chatml.encode_all
    problem: ConversationError = SpecialTextError("the tokenizer makes a token of the text <end>")

    def refusing(conversations: Any, *args: Any, **kwargs: Any) -> Any:
        for conversation in conversations:
            if "<end>" in conversation.messages[0].content:
                yield problem
            else:
                yield from encode_all([conversation], *args, **kwargs)

    monkeypatch.setattr(chatml, "encode_all", refusing)
    traces = [trace("a <end>"), trace("q"), trace("<end>")]
    with pytest.raises(DataError, match=r"2 of 3 examples .* The first is a <end>: the tokenizer"):
        encode_records(traces, chatml, Encoding(64))
    problem = ConversationError("the template refuses it")
    with pytest.raises(DataError, match=r"2 of 3 examples cannot be rendered: .*chat_template"):
        encode_records(traces, chatml, Encoding(64))


def test_tool_calls_and_their_results_are_shown_and_calls_are_learnt() -> None:
    template = CHATML.replace(
        "+ m['content'] +", "+ m['content'] + (m['tool_calls'] | tojson if m.tool_calls else '') +"
    )
    format_ = ChatFormat(chat_tokenizer(template))
    messages = [
        Message(Role.USER, "add"),
        Message(Role.ASSISTANT, "", tool_calls=[ToolCall(ToolFunction("sum", {"b": 2, "a": 1}))]),
        Message(Role.TOOL, "3"),
        Message(Role.ASSISTANT, "It is 3."),
    ]
    encoded = encode_records([ChatRecord(messages, id="x")], format_, Encoding(400))
    (text,) = learnt(format_, encoded)
    assert '"arguments": {"b": 2, "a": 1}' in text
    assert text.endswith("<|im_end|>It is 3.<|im_end|>")
    assert encoded.totals.trained_by_role.keys() == {"assistant"}
