from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tailrace.formats.data.record import CompletionRecord, PreferenceRecord
from tailrace.formats.spec.methods import Overlong
from training.data.batches import BatchStream
from training.data.chat_format import ChatFormat
from training.data.example_store import Example, token_counts, total_tokens
from training.errors import DataError, OverlongError
from training.objectives.pairs import PairCollator, PairStore, encode_pairs

RECORDS = [
    PreferenceRecord("What is 1 + 2?", "3", "It is 4, I think", id="a"),
    PreferenceRecord("What is 17 + 25?", "The answer is 42", "41", id="b"),
    PreferenceRecord("Say yes", "yes", "no", id="c"),
]


@pytest.fixture(scope="module")
def chat(tokenizer: Any) -> ChatFormat:
    return ChatFormat(tokenizer)


@pytest.fixture(scope="module")
def pairs(chat: ChatFormat) -> PairStore:
    examples = encode_pairs(RECORDS, chat, 64, Overlong.REFUSE).examples
    assert isinstance(examples, PairStore)
    return examples


def answers(pair: Example) -> tuple[Example, Example]:
    assert pair.other is not None
    return pair, pair.other


def test_both_answers_follow_the_same_prompt_and_are_learnt_alone(
    chat: ChatFormat, pairs: PairStore
) -> None:
    for record, pair in zip(RECORDS, pairs, strict=True):
        prompt = chat.prompt(str(record.prompt))
        for answer, text in zip(answers(pair), (record.chosen, record.rejected), strict=True):
            assert answer.tokens[~answer.mask].tolist() == prompt
            assert chat.text(answer.tokens[answer.mask].tolist()).strip() == text


def test_a_pair_counts_as_its_longer_answer_and_costs_both(pairs: PairStore) -> None:
    sizes = [[len(answer.tokens) for answer in answers(pair)] for pair in pairs]
    assert token_counts(pairs).tolist() == [max(both) for both in sizes]
    assert token_counts([*pairs]).tolist() == token_counts(pairs).tolist()
    assert total_tokens(pairs) == total_tokens([*pairs]) == int(np.sum(sizes))


def test_rows_hold_both_answers_and_their_reference(pairs: PairStore) -> None:
    reference = np.arange(6, dtype=np.float32).reshape(3, 2)
    collator = PairCollator(2)
    stream = BatchStream(pairs.with_reference(reference), collator, seed=0)
    batch, tokens = stream.batch(0, 2)
    assert batch.tokens.shape[:3] == (2, 2, 2)
    assert tokens == total_tokens(pairs)
    assert batch.reference is not None
    seen = sorted(batch.reference[batch.weights.any((-1, -2))].tolist())
    assert seen == reference.tolist()
    lone = collator.collate([[pairs[1]]])
    for side, answer in enumerate(answers(pairs[1])):
        length = answer.inputs if side else len(answer.tokens) - 1
        row = lone.tokens[0, 0, side]
        assert row[:length].tolist() == answer.tokens[:-1].tolist()
        assert lone.weights[0, 0, side].sum() == answer.trained
    assert not lone.weights[0, 1].any()


def test_the_digest_of_the_content_covers_masks(pairs: PairStore, chat: ChatFormat) -> None:
    again = encode_pairs(RECORDS, chat, 64, Overlong.REFUSE).examples
    swapped = [PreferenceRecord(r.prompt, r.rejected, r.chosen, id=r.id) for r in RECORDS]
    other = encode_pairs(swapped, chat, 64, Overlong.REFUSE).examples
    stores = [store for store in (pairs, again, other) if isinstance(store, PairStore)]
    digests = [store.answers.content_digest for store in stores]
    assert digests[0] == digests[1] != digests[2]


def test_a_pair_goes_with_either_overlong_answer(chat: ChatFormat, pairs: PairStore) -> None:
    limit = len(answers(pairs[2])[0].tokens)
    with pytest.raises(OverlongError, match="answers of 3 pairs are longer than max_seq_length"):
        encode_pairs(RECORDS, chat, limit, Overlong.REFUSE)
    left = encode_pairs(RECORDS, chat, limit, Overlong.DROP).examples
    assert [pair.tokens.tolist() for pair in left] == [pairs[2].tokens.tolist()]


def test_answers_that_truncation_makes_alike_are_left_out(chat: ChatFormat) -> None:
    alike = PreferenceRecord("Say yes", "yes yes yes yes 1", "yes yes yes yes 2", id="d")
    limit = len(chat.prompt("Say yes")) + 2
    records = [alike, PreferenceRecord("Say yes", "yes", "no", id="c")]
    left = encode_pairs(records, chat, limit, Overlong.TRUNCATE).examples
    assert len(left) == 1


def test_other_records_are_refused_with_the_form_of_a_preference(chat: ChatFormat) -> None:
    with pytest.raises(DataError, match=r'x is not a preference: .*"chosen": …'):
        encode_pairs([CompletionRecord("a", "b", id="x")], chat, 64, Overlong.REFUSE)
