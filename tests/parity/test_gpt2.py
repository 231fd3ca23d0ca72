"""GPT-2 here and in PyTorch compute the same; the reference comes from make_gpt2_reference.py."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from training.generate import Generator, Sampling
from training.losses import response_cross_entropy
from training.models.family import Model, Params
from training.models.folder import load_model

FOLDER = Path(__file__).parent / "gpt2_tiny"
RESPONSE_START = 5


@pytest.fixture(scope="module")
def model() -> tuple[Model, Params]:
    return load_model(FOLDER)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return load_file(str(FOLDER / "expected.safetensors"))


def _logits(model: Model, params: Params, tokens: np.ndarray) -> jax.Array:
    length = tokens.shape[1]
    decoder = model.bind(params)
    mask = jnp.tril(jnp.ones((length, length), bool))[None]
    hidden, _ = decoder.hidden(tokens, jnp.arange(length)[None], mask)
    return decoder.logits(hidden)


def test_logits(model: tuple[Model, Params], expected: dict[str, np.ndarray]) -> None:
    computed = _logits(*model, expected["tokens"])
    np.testing.assert_allclose(computed, expected["logits"], rtol=1e-4, atol=1e-4)


def test_loss_and_gradients(model: tuple[Model, Params], expected: dict[str, np.ndarray]) -> None:
    network, params = model
    tokens = expected["tokens"]
    targets = tokens[:, 1:]
    weights = np.zeros(targets.shape, np.float32)
    weights[:, RESPONSE_START - 1 :] = 1

    def loss_of(params: Params) -> jax.Array:
        return response_cross_entropy(
            _logits(network, params, tokens)[:, :-1], jnp.asarray(targets), weights
        )

    loss, gradients = jax.value_and_grad(loss_of)(params)
    assert float(loss) == pytest.approx(float(expected["loss"][0]), rel=1e-5)
    names = {
        "gradient.wte": "transformer.wte.weight",
        "gradient.c_attn": "transformer.h.1.attn.c_attn.weight",
        "gradient.ln_1": "transformer.h.0.ln_1.bias",
    }
    for there, here in names.items():
        np.testing.assert_allclose(gradients[here], expected[there], rtol=1e-3, atol=1e-5)


def test_greedy_generation(model: tuple[Model, Params], expected: dict[str, np.ndarray]) -> None:
    generator = Generator(*model, eos_token_id=0)
    prompt = expected["tokens"][0].tolist()
    ((generation,),) = generator.generate([prompt], Sampling(max_new_tokens=10), batch_size=1)
    assert generation.tokens == [t for t in expected["generated"][0].tolist() if t != 0]
