from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.prediction import FinishReason
from training.generate import Generation, Generator, Sampling
from training.models.family import Model, Params

PROMPTS = [[5, 6, 7], list(range(20, 40)), [9], [11, 12, 13, 14], [3] * 17]


@pytest.fixture(scope="module")
def generator(model: Model, params: Params) -> Generator:
    return Generator(model, params, eos_token_id=0)


def run(generator: Generator, prompts: Any, batch: int, **sampling: Any) -> list[Generation]:
    made = [
        generation
        for part in generator.generate(prompts, Sampling(**sampling), batch)
        for generation in part
    ]
    return sorted(made, key=lambda generation: generation.index)


@pytest.fixture(scope="module")
def reference(model: Model, params: Params) -> Any:
    """Greedy generation the slow way: the whole sequence for every token, without a cache."""

    @jax.jit
    def next_token(tokens: jax.Array, length: jax.Array) -> jax.Array:
        decoder = model.bind(params)
        size = tokens.shape[1]
        mask = jnp.tril(jnp.ones((size, size), bool))[None]
        hidden, _ = decoder.hidden(tokens, jnp.arange(size)[None], mask)
        return jnp.argmax(decoder.logits(hidden[:, length - 1]))

    def generate(prompt: list[int], count: int) -> list[int]:
        tokens = list(prompt)
        while len(tokens) < len(prompt) + count:
            padded = np.zeros((1, 64), np.int32)
            padded[0, : len(tokens)] = tokens
            token = int(next_token(padded, len(tokens)))
            if token == 0:
                break
            tokens.append(token)
        return tokens[len(prompt) :]

    return generate


def test_greedy_equals_the_slow_way(generator: Generator, reference: Any) -> None:
    made = run(generator, PROMPTS, 2, max_new_tokens=8)
    assert [g.tokens for g in made] == [reference(prompt, 8) for prompt in PROMPTS]


def test_batching_changes_nothing(generator: Generator) -> None:
    alone = [run(generator, [prompt], 2, max_new_tokens=8)[0].tokens for prompt in PROMPTS]
    assert [g.tokens for g in run(generator, PROMPTS, 2, max_new_tokens=8)] == alone


def test_end_of_sequence_ends_a_row_alone(model: Model, params: Params, reference: Any) -> None:
    # What would be generated third for the first prompt is declared the end.
    expected = reference(PROMPTS[0], 8)
    eos = expected[2]
    first = expected.index(eos)
    made = run(Generator(model, params, eos), PROMPTS[:2], 2, max_new_tokens=8)
    assert made[0].finish_reason is FinishReason.EOS
    assert made[0].tokens == expected[:first]
    assert made[0].count == first + 1
    other = reference(PROMPTS[1], 8)
    assert made[1].tokens == (other[: other.index(eos)] if eos in other else other)


def test_length_ends_a_row(generator: Generator) -> None:
    (made,) = run(generator, [[5, 6]], 2, max_new_tokens=3)
    assert (made.finish_reason, made.count, len(made.tokens)) == (FinishReason.LENGTH, 3, 3)


def test_temperature_is_reproducible_whatever_the_batch(generator: Generator) -> None:
    hot = {"max_new_tokens": 8, "temperature": 1.5}
    first = run(generator, PROMPTS, 2, **hot)
    assert run(generator, PROMPTS, 2, **hot) == first
    assert run(generator, PROMPTS, 5, **hot) == first
    assert run(generator, PROMPTS, 2, **hot, seed=1) != first
    same = run(generator, [PROMPTS[0]] * 2, 2, **hot)
    assert same[0].tokens != same[1].tokens


def test_sampling_follows_the_logits(model: Model, params: Params) -> None:
    prompts = [[5, 6]] * 256
    drawn = run(Generator(model, params, 0), prompts, 256, max_new_tokens=1, temperature=1.0)
    decoder = model.bind(params)
    mask = jnp.tril(jnp.ones((1, 2, 2), bool))
    hidden, _ = jax.jit(lambda: decoder.hidden(jnp.asarray([[5, 6]]), jnp.arange(2)[None], mask))()
    p = np.asarray(jax.nn.softmax(decoder.logits(hidden[0, -1])))
    tokens = [g.tokens[0] if g.tokens else 0 for g in drawn]
    likelihood = np.log(p[tokens]).mean()
    entropy = (p * np.log(p)).sum()
    assert likelihood == pytest.approx(entropy, abs=0.05)


def test_context_limits(generator: Generator, model: Model) -> None:
    full, nearly = [1] * model.context, [1] * (model.context - 2)
    made = run(generator, [[], nearly, full, [5]], 2, max_new_tokens=8)
    assert made[0].error == "the prompt has no tokens"
    assert made[1].count <= 2
    assert made[2].finish_reason is FinishReason.ERROR
    assert "no room in the model's context of 64" in made[2].error
    assert made[3].finish_reason is not FinishReason.ERROR


def test_nothing_to_do(generator: Generator) -> None:
    assert run(generator, [], 2) == []
