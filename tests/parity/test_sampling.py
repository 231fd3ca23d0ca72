"""Scores are filtered as transformers' processors do it; the reference is committed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.parity.cases import GOLDENS, SAMPLINGS
from training.generate.sampling import Sampling, first_best, process


@pytest.mark.parametrize("name", SAMPLINGS)
def test_scores(name: str) -> None:
    golden = load_file(GOLDENS / "sampling.safetensors")
    logits, tokens = jnp.asarray(golden["logits"]), golden["tokens"]
    choice = Sampling(**SAMPLINGS[name]).choice
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, tokens, True, axis=1)
    made = np.asarray(process(logits, jnp.asarray(seen) if choice.penalizes else None, choice))
    expected = golden[f"scores.{name}"]
    np.testing.assert_array_equal(np.isneginf(made), np.isneginf(expected))
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    assert not np.array_equal(expected, golden["logits"])


def test_the_first_of_the_best() -> None:
    scores = np.random.default_rng(0).integers(0, 5, (40, 61)).astype(np.float32)
    np.testing.assert_array_equal(first_best(jnp.asarray(scores)), scores.argmax(axis=-1))
    assert int(first_best(jnp.full((1, 7), jnp.nan))[0]) < 7
