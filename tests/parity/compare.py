"""Comparing a model here with what transformers computes with the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tailrace.formats.model.adapter import PREFIX
from tailrace.formats.model.rope import Rope
from tailrace.formats.spec.run_spec import LoraSpec
from tests.parity.cases import ADAPTERS, GOLDENS, NEW_TOKENS, PROMPT_LENGTHS, RESPONSE_START
from training.generate.generator import Generator
from training.generate.sampling import Sampling
from training.loop.lora import LoraAdapter
from training.models.family import Decoder, Model, Params
from training.models.folder import load_model
from training.objectives.losses import response_cross_entropy

TOLERANCE = 1e-5
"""Largest difference of logits and gradients, as a share of the largest one of a model; of
log-probabilities, in nats."""

ADAPTER_TOLERANCE = 2e-6
"""Largest difference of logits with an adapter from PEFT's, as a share of the largest logit."""

SLOTS = 2
"""Fewer than there are prompts: slots are taken again when an answer has ended."""

Expected = dict[str, NDArray[Any]]
"""See :func:`tests.parity.tiny_models.reference`."""


def logits_of(decoder: Decoder, tokens: jax.Array) -> jax.Array:
    """Return the logits [B, T, V] of tokens [B, T]."""
    length = tokens.shape[1]
    mask = jnp.tril(jnp.ones((length, length), bool))[None]
    hidden, _ = decoder.hidden(tokens, jnp.arange(length)[None], mask)
    return decoder.logits(hidden)


def check_computation(model: Model, params: Params, expected: Expected) -> None:
    """Logits, loss and the gradient of every parameter are equal."""
    tokens = jnp.asarray(expected["tokens"], jnp.int32)
    length = tokens.shape[1]
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    weights = np.zeros((len(tokens), length - 1), np.float32)
    weights[:, RESPONSE_START - 1 :] = 1

    @jax.jit
    def compute(params: Params) -> tuple[tuple[jax.Array, jax.Array], Params]:
        def loss_of(params: Params) -> tuple[jax.Array, jax.Array]:
            decoder = model.bind(params)
            hidden, _ = decoder.hidden(tokens, jnp.arange(length)[None], mask)
            logits = decoder.logits(hidden)
            return response_cross_entropy(logits[:, :-1], tokens[:, 1:], weights), logits

        return jax.value_and_grad(loss_of, has_aux=True)(params)

    (loss, logits), gradients = compute(params)
    largest = np.abs(expected["logits"]).max()
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=TOLERANCE * largest)
    np.testing.assert_allclose(loss, expected["loss"][0], rtol=TOLERANCE)
    check_gradients(gradients, expected)


def check_gradients(gradients: Params, expected: Mapping[str, NDArray[Any]]) -> None:
    """The gradient of every parameter is equal; those of ``expected`` begin with ``gradient.``."""
    largest = max(np.abs(expected[f"gradient.{name}"]).max() for name in gradients)
    for name, gradient in gradients.items():
        theirs, tolerance = expected[f"gradient.{name}"], TOLERANCE * largest
        np.testing.assert_allclose(gradient, theirs, rtol=0, atol=tolerance, err_msg=name)


def check_generation(model: Model, params: Params, expected: Expected) -> None:
    """Greedy continuations are equal, token for token, prompts of all lengths in one batch.

    Slots are used again, the cache grows, and either of two tokens ends an answer. Where attention
    has a window, the log-probabilities are also equal to those of one pass without a cache.
    """
    prompts = [expected[f"prompt.{number}"].tolist() for number in range(len(PROMPT_LENGTHS))]
    generator = Generator(model, params, set(expected["ends"].tolist()))
    seen = 0
    # Some rotations depend on the length that a sequence has when a key is computed.
    has_fixed_keys = rope_kind(model) not in ("dynamic", "longrope")
    is_compared = has_fixed_keys and getattr(model.config, "sliding_window", None) is not None
    sampling = Sampling(max_new_tokens=NEW_TOKENS, logprobs=is_compared)
    uncached = uncached_logprobs(model, params, expected) if is_compared else None
    for batch in generator.generate(prompts, sampling, SLOTS):
        for generation in batch:
            seen += 1
            there = expected[f"generated.{generation.index}"].tolist()
            assert generation.tokens == there
            if uncached is not None:
                np.testing.assert_allclose(
                    generation.logprobs, uncached[generation.index], rtol=0, atol=TOLERANCE
                )
    assert seen == len(prompts)


def rope_kind(model: Model) -> str:
    """Return the ``rope_type`` of a model; ``default`` without rotary positions, too."""
    rope: Rope | None = getattr(model.config, "rope", None)
    return "default" if rope is None else rope.kind


def uncached_logprobs(
    model: Model, params: Params, expected: Expected
) -> list[NDArray[np.float32]]:
    """Return the log-probabilities of all continuations, computed in one pass without a cache."""
    pairs = [
        (expected[f"prompt.{number}"], expected[f"generated.{number}"])
        for number in range(len(PROMPT_LENGTHS))
    ]
    length = max(PROMPT_LENGTHS) + NEW_TOKENS
    tokens = np.zeros((len(pairs), length), np.int32)
    for row, pair in zip(tokens, pairs, strict=True):
        whole = np.concatenate(pair)
        row[: len(whole)] = whole
    mask = jnp.tril(jnp.ones((1, length, length), bool))

    @jax.jit
    def logits_of(params: Params) -> jax.Array:
        decoder = model.bind(params)
        hidden, _ = decoder.hidden(tokens, jnp.arange(length)[None], mask)
        return jax.nn.log_softmax(decoder.logits(hidden))

    logprobs = np.asarray(logits_of(params))
    return [
        row[len(prompt) - 1 + np.arange(len(new)), new]
        for row, (prompt, new) in zip(logprobs, pairs, strict=True)
    ]


def load_adapter(name: str) -> tuple[LoraAdapter, Params, Params]:
    """Return the adapter that PEFT wrote for a case, its values, and those of the base model."""
    model, params = load_model(GOLDENS / name)
    config = json.loads((ADAPTERS / name / "adapter_config.json").read_text())
    spec = LoraSpec(
        rank=config["r"], alpha=config["lora_alpha"], target_modules=config["target_modules"]
    )
    stored = load_file(ADAPTERS / name / "adapter_model.safetensors")
    trained = {n.removeprefix(PREFIX): jnp.asarray(v) for n, v in sorted(stored.items())}
    return LoraAdapter(model, spec, jnp.float32, seed=0), trained, params
