"""The load-balancing loss of experts equals that of transformers, however a batch is divided."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tailrace.formats.spec.run_spec import MeshSpec, TrainSpec
from tests.parity.cases import (
    BALANCE_FACTOR,
    BALANCE_LENGTHS,
    BALANCED,
    GOLDENS,
    RESPONSE_START,
    VOCABULARY,
)
from tests.parity.compare import check_gradients
from training.data.batches import Batch, Collator
from training.data.example_store import Example
from training.loop.router_balance import METRIC, choose_balance
from training.loop.steps import BatchLoss, accumulate
from training.loop.trainable import AllWeights
from training.machine.sharding import Layout, make_mesh
from training.models.family import Model, Params
from training.models.folder import load_model
from training.models.registry import model_from_config
from training.models.unpacked import Slots
from training.objectives.objective import Metrics
from training.objectives.sft import SftObjective

Figures = tuple[jax.Array, Metrics, Params]

SPEC = TrainSpec(max_steps=1, router_aux_loss_coef=BALANCE_FACTOR)

DIVISIONS: dict[str, tuple[int | None, int | None, bool]] = {
    "whole": (None, None, False),
    "by_row": (None, 1, False),
    "remat": (None, 1, True),
    "packed": (24, None, False),
}
"""Ways to compute a batch: length of packed rows, rows of a pass, and recomputation."""


def examples_of(tokens: NDArray[np.int64]) -> list[Example]:
    """Return the rows without padding; a last token that is not learnt makes all others inputs."""
    return [
        Example(
            np.append(row[:length], 1).astype(np.int32),
            (np.arange(length + 1) >= RESPONSE_START) & (np.arange(length + 1) < length),
        )
        for row, length in zip(tokens, BALANCE_LENGTHS, strict=True)
    ]


def computed(
    model: Model, params: Params, examples: list[Example], division: str, spec: TrainSpec = SPEC
) -> Figures:
    row_length, micro, remat = DIVISIONS[division]
    batch = Collator(len(examples), row_length and row_length + 1).collate([examples])
    rows: Batch = jax.tree.map(lambda values: values[0], batch)
    objective = SftObjective(spec)
    loss_of = BatchLoss(
        objective,
        AllWeights(model, jnp.float32),
        remat=remat,
        slots=Slots(3, 16) if row_length else None,
        balance=choose_balance(model, spec),
    )
    layout = Layout.of(model.family.model_type, make_mesh(MeshSpec(), 1))
    compute: Any = jax.jit(accumulate(objective, loss_of, layout, micro))
    figures: Figures = compute(params, {}, rows, jax.random.key(0))
    return figures


def check(figures: Figures, expected: Mapping[str, NDArray[Any]]) -> None:
    loss, metrics, gradients = figures
    np.testing.assert_allclose(metrics[METRIC], expected["balance"][0], rtol=1e-5)
    np.testing.assert_allclose(loss, expected["loss"][0], rtol=1e-5)
    check_gradients(gradients, expected)


@pytest.mark.parametrize(
    ("case", "division"),
    # The cases differ in their routing, which all divisions share.
    [
        *(("qwen3_moe", division) for division in DIVISIONS),
        ("mixtral", "by_row"),
        ("qwen3_moe_unnormalized", "whole"),
    ],
)
def test_value_and_gradient(case: str, division: str) -> None:
    expected = load_file(GOLDENS / case / "balanced.safetensors")
    model, params = load_model(GOLDENS / case)
    check(computed(model, params, examples_of(expected["tokens"]), division), expected)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.parametrize("case", BALANCED)
def test_live(case: str, tmp_path: Path) -> None:
    from tests.parity.tiny_models import balanced, make_model

    reference = make_model(case, 7)
    reference.save_pretrained(tmp_path)
    expected = {name: value.numpy() for name, value in balanced(reference).items()}
    model, params = load_model(tmp_path)
    check(computed(model, params, examples_of(expected["tokens"]), "by_row"), expected)


def test_a_model_asks_for_it_by_its_own_config() -> None:
    model, params = load_model(GOLDENS / "mixtral")
    plain = TrainSpec(max_steps=1)
    assert choose_balance(model, plain) is None
    config = {**model.family.dump_config(model.config), "output_router_logits": True}
    chosen = choose_balance(model_from_config(config), plain)
    assert chosen is not None
    assert chosen.factor == pytest.approx(0.001)
    off = TrainSpec(max_steps=1, router_aux_loss_coef=0)
    assert choose_balance(model_from_config(config), off) is None
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (3, 12))
    _, metrics, _ = computed(model, params, examples_of(tokens), "whole", plain)
    assert METRIC not in metrics
