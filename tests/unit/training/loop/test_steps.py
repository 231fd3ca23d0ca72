"""Loss and gradients do not depend on how a batch is laid out or divided."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import LoraSpec, MeshSpec, TrainSpec
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import Encoding, encode_records
from training.data.example_store import Example
from training.loop.lora import LoraAdapter
from training.loop.steps import BatchLoss, accumulate, compile_evaluation
from training.loop.trainable import AllWeights
from training.machine.sharding import Layout, make_mesh
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.objectives.sft import SftObjective

MISTRAL = {
    "model_type": "mistral",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "sliding_window": 9,
}
KEY = jax.random.key(0)
SFT = SftObjective(TrainSpec())

Found = tuple[jax.Array, Params]


@pytest.fixture(scope="module")
def examples(tokenizer: Any, traces: list[Trace]) -> list[Example]:
    chosen = [*traces[:5], *traces[50:57]]
    return encode_records(chosen, ChatFormat(tokenizer), Encoding(64)).examples


def random(model: Model) -> Params:
    generator = np.random.default_rng(0)
    return {
        name: jnp.asarray(
            generator.normal(1.0 if "norm.w" in name or ".ln_" in name else 0.0, 0.3, shape),
            jnp.float32,
        )
        for name, shape in model.shapes.items()
    }


@pytest.fixture(scope="module")
def network(model: Model) -> tuple[Model, Params]:
    """Without dropout."""
    rates = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    still = Model(model.family, dataclasses.replace(model.config, **rates), model.build)
    return still, random(still)


def gradients(
    network: tuple[Model, Params], batch: Batch, micro: int | None = None, remat: bool = False
) -> Found:
    model, params = network
    layout = Layout.of(model.family.model_type, make_mesh(MeshSpec(), 1))
    loss_of = BatchLoss(SFT, AllWeights(model, jnp.float32), remat=remat)
    rows = jax.tree.map(lambda values: values[0], batch)
    loss, _, gradients = jax.jit(accumulate(SFT, loss_of, layout, micro))(params, {}, rows, KEY)
    return loss, gradients


def check_equal(actual: Found, expected: Found, tolerance: float) -> None:
    np.testing.assert_allclose(actual[0], expected[0], rtol=tolerance, atol=tolerance)
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(actual[1][name], gradient, rtol=0, atol=tolerance, err_msg=name)


def loss(network: tuple[Model, Params], batch: Batch) -> float:
    model, params = network
    layout = Layout.of(model.family.model_type, make_mesh(MeshSpec(), 1))
    evaluate = compile_evaluation(SFT, AllWeights(model, jnp.float32), layout)
    total, _ = evaluate(params, {}, batch)
    return float(total) / float(batch.weights.sum())


@pytest.fixture(scope="module")
def plain(network: tuple[Model, Params], examples: list[Example]) -> Found:
    """One pass over one example a row."""
    return gradients(network, Collator(12).collate([examples]))


@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_packed_rows(
    network: tuple[Model, Params], examples: list[Example], tokenizer: Any, family: str
) -> None:
    if family == "mistral":
        # Rotary positions and a sliding window, instead of learned positions.
        sliding = model_from_config({**MISTRAL, "vocab_size": len(tokenizer)})
        network = (sliding, random(sliding))
    batch = Collator(12, row_length=64).collate([examples])
    assert batch.tokens.shape[1] < 12
    assert batch.segments is not None
    assert batch.segments.max() >= 2
    apart = gradients(network, Collator(12).collate([examples]))
    assert all(float(jnp.abs(value).max()) > 1e-4 for value in apart[1].values())
    check_equal(gradients(network, batch), apart, 1e-5)
    # The same rows with sight across examples are another computation.
    blind = batch._replace(segments=np.ones_like(batch.segments))
    assert abs(loss(network, blind) - float(apart[0])) > 1e-3


def test_gradient_accumulation(
    network: tuple[Model, Params], examples: list[Example], plain: Found
) -> None:
    # The parts have unequal numbers of response tokens, and a row of padding.
    batch = Collator(12).collate([examples[:11]])
    counts = batch.weights[0].sum(-1).reshape(4, 3).sum(0)
    assert len(set(counts.tolist())) == 3
    single_pass = gradients(network, batch)
    # Recomputation changes nothing either.
    check_equal(gradients(network, batch, micro=4, remat=True), single_pass, 1e-6)
    assert abs(float(single_pass[0]) - float(plain[0])) > 1e-4


@pytest.mark.parametrize("family", ["gpt2", "mistral"])
@pytest.mark.parametrize("remat", [False, True])
def test_layers_are_computed_again_where_it_is_asked_for(
    network: tuple[Model, Params],
    examples: list[Example],
    tokenizer: Any,
    family: str,
    remat: bool,
) -> None:
    if family == "mistral":
        sliding = model_from_config({**MISTRAL, "vocab_size": len(tokenizer)})
        network = (sliding, random(sliding))
    model, params = network
    loss_of = BatchLoss(SFT, AllWeights(model, jnp.float32), remat=remat)
    rows = jax.tree.map(lambda values: values[0], Collator(12).collate([examples]))
    traced = jax.make_jaxpr(jax.grad(loss_of, has_aux=True))(params, {}, rows, jnp.float32(1), None)
    assert ("remat" in str(traced) or "checkpoint" in str(traced)) is remat


@pytest.mark.parametrize(("dtype", "row_length"), [(jnp.float32, 64), (jnp.bfloat16, None)])
def test_logits_of_one_block_at_a_time(
    network: tuple[Model, Params], examples: list[Example], dtype: Any, row_length: int | None
) -> None:
    model, params = network
    trainable = LoraAdapter(model, LoraSpec(rank=2), dtype, seed=0)
    adapter, frozen = trainable.start(HeldWeights(params))
    trained = {name: value + 0.01 for name, value in adapter.items()}
    batch = Collator(12, row_length).collate([examples])
    rows = jax.tree.map(lambda values: values[0], batch)
    total = jnp.float32(rows.weights.sum())

    def gradients_with(by_block: bool) -> Found:
        of = jax.jit(jax.value_and_grad(BatchLoss(SFT, trainable, by_block=by_block), has_aux=True))
        (loss, _), gradients = of(trained, frozen, rows, total, None)
        return loss, gradients

    single_pass = gradients_with(by_block=False)
    assert max(float(jnp.abs(value).max()) for value in single_pass[1].values()) > 1e-4
    check_equal(gradients_with(by_block=True), single_pass, 1e-5 if dtype == jnp.float32 else 2e-2)


def test_bfloat16_is_close_and_its_gradients_are_float32(
    network: tuple[Model, Params], examples: list[Example], plain: Found
) -> None:
    model, params = network
    loss_of = BatchLoss(SFT, AllWeights(model, jnp.bfloat16))
    rows = jax.tree.map(lambda values: values[0], Collator(12).collate([examples]))
    total = jnp.float32(rows.weights.sum())
    compiled = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    # Products of weights are done in bfloat16, or there would be nothing to gain.
    assert "bf16" in compiled.lower(params, {}, rows, total, None).as_text()
    (loss, _), gradient = compiled(params, {}, rows, total, None)
    assert float(loss) == pytest.approx(float(plain[0]), rel=0.02)
    assert float(loss) != float(plain[0])
    assert {str(value.dtype) for value in (loss, *gradient.values())} == {"float32"}


def test_evaluation_sums_over_tokens(
    network: tuple[Model, Params], examples: list[Example], plain: Found
) -> None:
    assert loss(network, Collator(12).collate([examples])) == pytest.approx(
        float(plain[0]), abs=1e-5
    )
