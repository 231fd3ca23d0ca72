"""Examples compute the same in rows of their own, packed, and with a common prompt read once."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.parity.cases import ADAPTER_TARGETS, GOLDENS, VOCABULARY
from training.data.batches import Batch, Collator
from training.data.example_store import Example
from training.data.packing import Groups
from training.models.family import Model, Params
from training.models.folder import load_model
from training.models.unpacked import Slots
from training.objectives.objective import BoundModel

TOLERANCE = 2e-5

SHORT = [13, 16, 3, 9, 16, 12, 16, 5, 10, 15]
"""Inputs of each example, packed in rows of 96."""

LONG = [40, 23, 38, 7, 29, 31, 40, 2]
"""For rows of 160: much longer than the windows of the cases."""

PACKINGS = [
    *((case, SHORT, 96) for case in ADAPTER_TARGETS),
    *((case, LONG, 160) for case in ("mistral", "gemma2", "gemma3", "smollm3_sliding")),
    ("qwen2_sliding", SHORT, 96),
]
"""Each family, and again those with windows: case, examples, and length of packed rows."""


def hidden_by_example(
    model: Model, params: Params, rows: Batch, slots: Slots | None
) -> dict[tuple[int, ...], NDArray[np.float32]]:
    """Return the last hidden states [T, C] of every example, by its tokens."""
    rows = jax.tree.map(lambda values: values[0], rows)
    bound = BoundModel(model.bind(params), None, remat=False, by_block=False, slots=slots)
    hidden = np.asarray(bound.hidden(rows))
    segments = rows.weights.astype(int) if rows.segments is None else rows.segments
    return {
        tuple(tokens[numbers == number].tolist()): states[numbers == number]
        for tokens, numbers, states in zip(rows.tokens, segments, hidden, strict=True)
        for number in range(1, numbers.max(initial=0) + 1)
    }


@pytest.mark.parametrize(("case", "lengths", "row"), PACKINGS)
def test_packed_examples_compute_as_each_in_its_own_row(
    case: str, lengths: list[int], row: int
) -> None:
    model, params = load_model(GOLDENS / case)
    generator = np.random.default_rng(0)
    examples = [
        Example.of(tuple(generator.integers(1, VOCABULARY, length + 1).tolist()), 1)
        for length in lengths
    ]
    slots = Slots.of(len(examples), max(lengths))
    packed = Collator(len(examples), row + 1).collate([examples])
    assert packed.tokens.shape[-1] == row
    assert slots.pay(*packed.tokens.shape[1:])
    apart = hidden_by_example(model, params, Collator(len(examples)).collate([examples]), None)
    together = hidden_by_example(model, params, packed, slots)
    assert len(apart) == len(examples)
    assert together.keys() == apart.keys()
    for tokens, states in together.items():
        np.testing.assert_allclose(states, apart[tokens], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", ["gpt2", "gemma2", "qwen2_sliding"])
def test_answers_compute_the_same_with_a_common_prompt_read_once(case: str) -> None:
    model, params = load_model(GOLDENS / case)
    generator = np.random.default_rng(0)
    lengths = np.asarray([[[14, 19, 11, 14], [21, 12, 21, 0]]], np.int32)
    tokens = np.zeros((*lengths.shape, 32), np.int32)
    for place, length in np.ndenumerate(lengths):
        tokens[place][:length] = generator.integers(1, VOCABULARY, length)
        tokens[place][: 9 if length else 0] = range(1, 10 if length else 1)
    weights = (np.arange(32) < lengths[..., None]).astype(np.float32)
    groups = Groups.of(tokens, lengths)
    assert groups is not None
    rows = Batch(tokens, tokens, weights, lengths=lengths, groups=groups)
    rows = jax.tree.map(lambda values: values[0], rows)

    def hidden(share: bool) -> Any:
        bound = BoundModel(model.bind(params), None, remat=False, by_block=False, share=share)
        return bound.hidden(rows) * rows.weights[..., None]

    np.testing.assert_allclose(hidden(True), hidden(False), rtol=0, atol=TOLERANCE)
