from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import CompletionRecord, FeedbackRecord
from tailrace.formats.spec.methods import KtoSpec, Overlong
from training.data.chat_format import ChatFormat
from training.data.example_store import Example
from training.errors import DataError, OverlongError
from training.objectives.feedback import (
    FeedbackCollator,
    encode_feedback,
    mismatched,
    prompt_key,
)
from training.objectives.pairs import PairStore

RECORDS = [
    FeedbackRecord("What is 1 + 2?", "3", label=True, id="a"),
    FeedbackRecord("What is 1 + 2?", "It is 4, I think", label=False, id="b"),
    FeedbackRecord("Say yes", "yes", label=True, id="c"),
    FeedbackRecord("Say no", "yes", label=False, id="d"),
]


@pytest.fixture(scope="module")
def chat(tokenizer: Any) -> ChatFormat:
    return ChatFormat(tokenizer)


@pytest.fixture(scope="module")
def examples(chat: ChatFormat) -> PairStore:
    encoded = encode_feedback(RECORDS, chat, 64, KtoSpec()).examples
    assert isinstance(encoded, PairStore)
    return encoded


def other(example: Example) -> Example:
    assert example.other is not None
    return example.other


@pytest.mark.parametrize(
    "prompts", ["ab", "aabb", "abab", "aab", "aaaab", "abcd", "aabbcc", "abcabcaaaaaaa"]
)
def test_every_record_is_paired_with_one_of_another_prompt(prompts: str) -> None:
    partners = mismatched(prompts)
    assert all(prompts[i] != prompts[j] for i, j in enumerate(partners))
    if max(map(prompts.count, prompts)) * 2 <= len(prompts):
        assert sorted(partners) == list(range(len(prompts)))


def test_a_single_prompt_has_no_mismatched_answer(chat: ChatFormat) -> None:
    with pytest.raises(
        DataError, match=r"the 2 held-out examples have 1 prompt: train\.kto compares"
    ):
        encode_feedback(RECORDS[:2], chat, 64, KtoSpec(), "held-out examples")


def test_a_mismatched_answer_follows_the_prompt_of_the_example(
    chat: ChatFormat, examples: PairStore
) -> None:
    partners = mismatched([prompt_key(record) for record in RECORDS])
    for record, partner, example in zip(RECORDS, partners, examples, strict=True):
        prompt = chat.prompt(str(record.prompt))
        for answer, text in (
            (example, record.completion),
            (other(example), RECORDS[partner].completion),
        ):
            assert answer.tokens[~answer.mask].tolist() == prompt
            assert chat.text(answer.tokens[answer.mask].tolist()).strip() == text
        assert example.label is record.label


def test_rows_have_labels_and_padding_has_none(examples: PairStore) -> None:
    reference = np.arange(8, dtype=np.float32).reshape(4, 2)
    pairs = [*examples.with_reference(reference)]
    batch = FeedbackCollator(3).collate([pairs[:3], pairs[3:]])
    assert batch.labels is not None
    assert batch.labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert batch.weights.any((-1, -2)).tolist() == [[True] * 3, [True, False, False]]


def test_text_and_messages_may_be_mixed(chat: ChatFormat, examples: PairStore) -> None:
    first = RECORDS[0]
    messages = FeedbackRecord(
        [Message(Role.USER, str(first.prompt))],
        [Message(Role.ASSISTANT, str(first.completion))],
        label=True,
        id="a",
    )
    mixed = encode_feedback([messages, *RECORDS[1:]], chat, 64, KtoSpec()).examples
    assert mixed.digest == examples.digest


def test_overlong_answers_follow_the_policy_and_mismatched_ones_are_truncated(
    chat: ChatFormat, examples: PairStore
) -> None:
    limit = max(len(e.tokens) for e in examples if len(e.tokens) != len(examples[1].tokens))
    with pytest.raises(OverlongError, match="1 of 4 examples are longer"):
        encode_feedback(RECORDS, chat, limit, KtoSpec())
    left = encode_feedback(RECORDS, chat, limit, KtoSpec(overlong=Overlong.DROP)).examples
    assert [e.tokens.tolist() for e in left] == [examples[i].tokens.tolist() for i in (0, 2, 3)]
    assert max(len(other(example).tokens) for example in left) <= limit
    assert all(other(example).trained for example in left)


def test_a_prompt_that_fills_the_row_is_refused_or_left_out(chat: ChatFormat) -> None:
    longest = FeedbackRecord("Say yes and then no and then yes again", "yes", label=True, id="e")
    limit = len(chat.prompt(str(longest.prompt)))
    records = [*RECORDS, longest]
    with pytest.raises(OverlongError, match="truncation would leave nothing to learn in 1"):
        encode_feedback(records, chat, limit, KtoSpec(overlong=Overlong.TRUNCATE))
    left = encode_feedback(records, chat, limit, KtoSpec(overlong=Overlong.DROP)).examples
    assert len(left) == 4


@pytest.mark.parametrize(("label", "side"), [(True, "good"), (False, "bad")])
def test_one_sided_feedback_is_learnt_with_a_warning(
    chat: ChatFormat, label: bool, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = [FeedbackRecord(r.prompt, r.completion, label, id=r.id) for r in RECORDS]
    with caplog.at_level(logging.WARNING):
        assert len(encode_feedback(records, chat, 64, KtoSpec()).examples) == 4
    assert f"all answers of the examples are {side}" in caplog.text


def test_weights_outside_the_range_of_the_paper_are_reported(
    chat: ChatFormat, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        encode_feedback(RECORDS, chat, 64, KtoSpec())
        assert not caplog.text
        encode_feedback(RECORDS, chat, 64, KtoSpec(desirable_weight=2))
    assert "good answers weigh 4 and bad ones 2 in all" in caplog.text


def test_other_records_are_refused_with_the_form_of_feedback(chat: ChatFormat) -> None:
    with pytest.raises(DataError, match=r'x has no label: .*"label": true'):
        encode_feedback([CompletionRecord("a", "b", id="x")], chat, 64, KtoSpec())
