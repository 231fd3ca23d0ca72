from __future__ import annotations

import jax
import numpy as np
import pytest

from training.data.batches import Batch, Collator
from training.data.example_store import Example
from training.objectives.objective import real_tokens
from training.objectives.pairs import PairCollator

EXAMPLES = [Example.of(range(1, length + 2), 2) for length in (5, 9, 3)]
"""Examples of 5, 9 and 3 inputs."""


def rows(batch: Batch) -> Batch:
    first: Batch = jax.tree.map(lambda values: values[0], batch)
    return first


@pytest.mark.parametrize("collator", [Collator(3), Collator(3, row_length=17)])
def test_padding_counts_nothing_and_prompts_do(collator: Collator) -> None:
    batch = rows(collator.collate([EXAMPLES]))
    counted = np.asarray(real_tokens(batch))
    assert counted.sum() == 5 + 9 + 3
    np.testing.assert_array_equal(counted > 0, batch.tokens > 0)


def test_each_answer_of_a_pair_has_its_length() -> None:
    pair = Example(EXAMPLES[1].tokens, EXAMPLES[1].mask, other=EXAMPLES[2])
    batch = rows(PairCollator(2).collate([[pair]]))
    assert np.asarray(real_tokens(batch)).sum(-1).tolist() == [[9, 3], [0, 0]]


def test_rows_must_say_what_is_padding() -> None:
    batch = rows(Collator(3).collate([EXAMPLES]))._replace(lengths=None)
    with pytest.raises(ValueError, match="need their lengths"):
        real_tokens(batch)
