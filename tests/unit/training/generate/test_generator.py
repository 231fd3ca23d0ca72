from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.data.prediction import FinishReason
from training.errors import NotFiniteError
from training.generate.generator import Generation, Generator
from training.generate.programs import Programs, Prompts
from training.generate.sampling import Sampling
from training.models.family import Model, Params

PROMPTS = [[5, 6, 7], list(range(20, 40)), [9], [11, 12, 13, 14], [3] * 17]


@pytest.fixture(scope="module")
def generator(model: Model, params: Params) -> Generator:
    return Generator(model, params, {0})


def run(generator: Generator, prompts: Any, batch: int, **sampling: Any) -> list[Generation]:
    made = [
        generation
        for part in generator.generate(prompts, Sampling(**sampling), batch)
        for generation in part
    ]
    return sorted(made, key=lambda generation: (generation.index, generation.sample))


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
            tokens.append(token)
            if token == 0:
                break
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
    made = run(Generator(model, params, {eos}), PROMPTS[:2], 2, max_new_tokens=8)
    assert made[0].finish_reason is FinishReason.EOS
    assert made[0].tokens == expected[: first + 1]
    other = reference(PROMPTS[1], 8)
    assert made[1].tokens == (other[: other.index(eos) + 1] if eos in other else other)


def test_any_of_several_tokens_ends_a_row(model: Model, params: Params, reference: Any) -> None:
    # What would come fourth for one prompt and third for the other.
    firsts = [reference(prompt, 8) for prompt in PROMPTS[:2]]
    ends = {firsts[0][3], firsts[1][2]}
    made = run(Generator(model, params, ends), PROMPTS[:2], 2, max_new_tokens=8)
    for each, expected in zip(made, firsts, strict=True):
        stop = next(i for i, token in enumerate(expected) if token in ends)
        assert each.tokens == expected[: stop + 1]
        assert each.finish_reason is FinishReason.EOS


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
    drawn = run(Generator(model, params, {0}), prompts, 256, max_new_tokens=1, temperature=1.0)
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


WAYS: dict[str, Any] = {
    "temperature": 1.5,
    "top_k": 40,
    "top_p": 0.9,
    "repetition_penalty": 1.2,
    "logprobs": True,
}
"""All that changes a choice; the tests share what is compiled for it."""


def likely(model: Model, params: Params, tokens: list[int]) -> Any:
    """Log-probabilities [T, V] of the token after each of ``tokens``, without a cache."""
    decoder = model.bind(params)
    padded = np.zeros((1, 64), np.int32)
    padded[0, : len(tokens)] = tokens
    mask = jnp.tril(jnp.ones((1, 64, 64), bool))
    hidden, _ = jax.jit(lambda t: decoder.hidden(t, jnp.arange(64)[None], mask))(padded)
    return np.asarray(jax.nn.log_softmax(decoder.logits(hidden[0])))[: len(tokens)]


def test_samples_do_not_depend_on_what_they_are_batched_or_refilled_with(
    generator: Generator,
) -> None:
    ways = {**WAYS, "max_new_tokens": 20, "n_samples": 3}
    all_at_once = run(generator, PROMPTS, 15, **ways)
    assert [(g.index, g.sample) for g in all_at_once] == [
        (i, s) for i in range(5) for s in range(3)
    ]
    assert len({tuple(g.tokens) for g in all_at_once}) == 15
    again = run(generator, PROMPTS, 4, **ways)
    assert [g.tokens for g in again] == [g.tokens for g in all_at_once]
    for one, other in zip(again, all_at_once, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    backwards = generator.generate(PROMPTS[::-1], Sampling(**ways), 4, numbers=[4, 3, 2, 1, 0])
    turned = {(4 - g.index, g.sample): g.tokens for part in backwards for g in part}
    assert turned == {(g.index, g.sample): g.tokens for g in all_at_once}


def test_what_is_done_is_not_made_again(generator: Generator) -> None:
    ways = {**WAYS, "max_new_tokens": 5, "n_samples": 2}
    whole = {(g.index, g.sample): g for g in run(generator, PROMPTS, 4, **ways)}
    done = {(0, 0), (0, 1), (3, 1)}
    rest = generator.generate(PROMPTS, Sampling(**ways), 4, done=done)
    made = {(g.index, g.sample): g for part in rest for g in part}
    assert set(made) == set(whole) - done
    assert all(g.tokens == whole[key].tokens for key, g in made.items())


def test_log_probabilities_are_the_models_own(
    generator: Generator, model: Model, params: Params
) -> None:
    for made in run(generator, PROMPTS[:4], 4, max_new_tokens=6, **WAYS):
        prompt = PROMPTS[made.index]
        rows = likely(model, params, prompt + made.tokens)[len(prompt) - 1 : -1]
        expected = rows[range(len(made.tokens)), made.tokens]
        np.testing.assert_allclose(made.logprobs, expected, atol=1e-4)


def test_top_k_of_one_is_greedy_and_a_penalty_shuns_repetition(generator: Generator) -> None:
    greedy = [g.tokens for g in run(generator, PROMPTS, 5, max_new_tokens=8)]
    narrow = run(generator, PROMPTS, 5, max_new_tokens=8, temperature=2.0, top_k=1)
    assert [g.tokens for g in narrow] == greedy
    (shy,) = run(generator, [[5, 6, 7]], 1, max_new_tokens=30, repetition_penalty=10.0)
    assert len(set(shy.tokens)) == len(shy.tokens)
    assert not {5, 6, 7} & set(shy.tokens)


def test_samples_that_share_the_reading_of_a_prompt_are_the_same(generator: Generator) -> None:
    sampling = Sampling(max_new_tokens=6, temperature=1.0, n_samples=3, logprobs=True)

    def sampled(share: bool) -> list[Generation]:
        parts = generator.generate(PROMPTS, sampling, 16, done={(0, 1)}, share=share)
        return sorted((g for part in parts for g in part), key=lambda g: (g.index, g.sample))

    once, apart = sampled(True), sampled(False)
    assert len(once) == 3 * len(PROMPTS) - 1
    assert [g.tokens for g in once] == [g.tokens for g in apart]
    for one, other in zip(once, apart, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_stop_strings_end_an_answer_where_they_begin(model: Model, params: Params) -> None:
    def decode(tokens: Any) -> str:
        return "".join(f"<{token}>" for token in tokens)

    generator = Generator(model, params, (), decode)
    (whole,) = run(generator, [[5, 6, 7]], 1, max_new_tokens=40, temperature=1.0)
    third, fourth = whole.tokens[18:20]
    across = f"{third}><{fourth}"
    ways: dict[str, Any] = {"max_new_tokens": 40, "temperature": 1.0}
    first, other = run(generator, [[5, 6, 7], [9]], 1, stop=(across, "never"), **ways)
    assert first.finish_reason is FinishReason.STOP
    assert first.tokens == whole.tokens[:20]
    assert first.text == decode(whole.tokens[:18]) + "<"
    assert (other.finish_reason, other.text) == (FinishReason.LENGTH, None)


def test_stop_strings_need_a_decoder(generator: Generator) -> None:
    with pytest.raises(ValueError, match="with decode"):
        run(generator, [[5]], 1, stop=("x",))


def test_a_cache_grows_while_rows_are_in_it(generator: Generator, reference: Any) -> None:
    # 64 columns at first; the second prompt comes in when the first is behind them.
    long = list(range(1, 41))
    made = run(generator, [long, [7, 8]], 1, max_new_tokens=24)
    assert [g.tokens for g in made] == [reference(long, 24), reference([7, 8], 24)]


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The programs that were compiled, or read from the cache, since the test began."""
    events: list[str] = []

    def listen(event: str, _: float, **__: Any) -> None:
        if event.endswith("backend_compile_duration"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_later_batches_need_no_other_programs(
    model: Model, params: Params, compiled: list[str]
) -> None:
    generator = Generator(model, params, {0})
    run(generator, PROMPTS[:3], 2, max_new_tokens=8)
    assert compiled
    compiled.clear()
    # Other prompts and lengths of the same buckets, fewer than there are slots, refills.
    run(generator, [[9, 8], *([number] * 7 for number in range(10, 18)), list(range(19))], 2,
        max_new_tokens=8)  # fmt: skip
    assert compiled == []


def test_reading_prompts_computes_the_last_positions_logits_only(
    model: Model, params: Params
) -> None:
    programs = Programs(model, Sampling().choice, {0}, 4, None)
    prompts = Prompts(np.ones((3, 24), np.int32), *np.ones((4, 3), np.int32))
    text = jax.jit(programs.prefill).lower(params, prompts, jax.random.key(0)).as_text()
    assert f"tensor<3x{model.vocabulary}xf32>" in text
    assert not re.search(rf"tensor<3x24x{model.vocabulary}x|tensor<72x{model.vocabulary}x", text)


@pytest.mark.timeout(400)
def test_the_same_on_eight_devices() -> None:
    probe = Path(__file__).parent / "generate_probe.py"
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, str(probe)],
        capture_output=True,
        text=True,
        timeout=380,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    for family in ("gpt2", "llama"):
        mesh = seen[f"{family}/mesh"]
        assert mesh == "data 2 × fsdp 2 × tensor 2"
        for alone, shared in zip(seen[f"{family}/one"], seen[f"{family}/all"], strict=True):
            assert alone[:2] == shared[:2]
            np.testing.assert_allclose(shared[2], alone[2], atol=1e-4)
    assert seen["served"]["all"] == seen["served"]["one"]


@pytest.mark.parametrize("logprobs", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_an_error(
    model: Model, params: Params, value: float, logprobs: bool
) -> None:
    broken = {**params, "transformer.ln_f.bias": params["transformer.ln_f.bias"].at[3].set(value)}
    with pytest.raises(NotFiniteError, match="for token 1 of an answer are not finite numbers"):
        run(Generator(model, broken, {0}), PROMPTS, 2, max_new_tokens=4, logprobs=logprobs)
