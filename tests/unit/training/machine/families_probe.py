"""Computes loss and gradients of tiny models on one and on eight virtual devices; prints JSON.

A separate program, because the number of devices is fixed when JAX starts.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from tailrace.formats.spec.run_spec import MeshSpec, TrainSpec
from tests.unit.training.machine.distinct_families import DISTINCT
from training.data.batches import Batch, Collator
from training.data.example_store import Example
from training.loop.router_balance import choose_balance
from training.loop.steps import BatchLoss, accumulate
from training.loop.trainable import choose_trainable
from training.machine.sharding import Layout, make_mesh
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.models.unpacked import Slots
from training.objectives.registry import make_objective

GPT2 = {
    "n_positions": 64,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 4,
    "vocab_size": 64,
    # One device attends by example, where other numbers would be drawn.
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}
LLAMA = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "sliding_window": 5,
}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
MESHES = {"one": MeshSpec(data=1), "eight": MeshSpec(data=2, fsdp=2, tensor=2)}
SPEC = TrainSpec(batch_size=32, max_seq_length=65, packing=True)
FACTOR = 0.5
"""Factor of the balance of experts."""


def packed_rows() -> Batch:
    """Return eight rows of 64 tokens with four examples each."""
    generator = np.random.default_rng(0)
    examples = [
        Example.of(tuple(generator.integers(1, 64, 17).tolist()), 4) for _ in range(SPEC.batch_size)
    ]
    rows = Collator.of(SPEC).collate([examples])
    batch: Batch = jax.tree.map(lambda values: values[0], rows)
    return batch


def computed(model_type: str, mesh: str) -> tuple[float, dict[str, Any]]:
    """Return loss and gradients of a family's model on a mesh."""
    sizes = GPT2 if model_type == "gpt2" else {**LLAMA, **EXPERTS}
    model = model_from_config({"model_type": model_type, **sizes})
    layout = Layout.of(model_type, make_mesh(MESHES[mesh], 8))
    spec = replace(SPEC, router_aux_loss_coef=FACTOR if model.dimensions.experts else None)
    objective, trainable = make_objective(spec), choose_trainable(model, spec)
    slots = Slots.of(SPEC.batch_size, 16) if mesh == "one" else None
    balance = choose_balance(model, spec)
    loss_of = BatchLoss(objective, trainable, layout, slots=slots, balance=balance)
    trained, frozen = trainable.start(HeldWeights(model.init(0)), layout)
    compute = jax.jit(accumulate(objective, loss_of, layout, None))
    rows = layout.split_rows(packed_rows())
    loss, _, gradients = compute(trained, frozen, rows, jax.random.key(0))
    return float(loss), {name: np.asarray(value) for name, value in gradients.items()}


def main() -> dict[str, Any]:
    """Return both losses of every family, and the largest difference of gradients."""
    figures = {}
    for model_type in DISTINCT:
        (loss, gradients), (split_loss, split) = (computed(model_type, mesh) for mesh in MESHES)
        figures[model_type] = {
            "losses": [loss, split_loss],
            "largest": max(float(np.abs(value).max()) for value in gradients.values()),
            "difference": max(
                float(np.abs(value - split[name]).max()) for name, value in gradients.items()
            ),
        }
    return figures


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201
