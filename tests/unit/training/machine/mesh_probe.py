"""Trains tiny models on meshes of eight virtual devices; prints what happened as JSON.

A separate program, because the number of devices is fixed when JAX starts. Arguments: the
folder for checkpoints.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from tailrace.formats.certificate import CERTIFICATE
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    BaseDtype,
    FinalModel,
    LoraSpec,
    MeshSpec,
    TrainSpec,
)
from training.checkpoints.checkpoint import list_checkpoints
from training.data.batches import BatchStream, Collator
from training.data.example_store import Example
from training.loop.trainer import Trainer
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective
from training.observer import EvalPoint, MetricPoint, Observer

CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "model_type": "gpt2",
        "n_positions": 32,
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 4,
        "vocab_size": 50,
    },
    "llama": {
        "model_type": "llama",
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "tie_word_embeddings": False,
    },
    "mixtral": {
        "model_type": "mixtral",
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "max_position_embeddings": 32,
    },
}
MESHES = {
    "one": MeshSpec(data=1),
    "data_tensor": MeshSpec(data=4, tensor=2),
    "all": MeshSpec(data=2, fsdp=2, tensor=2),
    "experts": MeshSpec(data=1, fsdp=2, tensor=2, experts=2),
}
COMPARED = {
    "gpt2": ("one", "data_tensor", "all"),
    "llama": ("one", "all"),
    "mixtral": ("one", "experts"),
}
SPEC = TrainSpec(
    max_steps=4,
    batch_size=8,
    max_seq_length=16,
    learning_rate=1e-2,
    save_every_steps=2,
    log_every_steps=1,
    steps_per_dispatch=2,
)


ADAPTED = dataclasses.replace(
    SPEC,
    max_steps=4,
    batch_size=8,
    micro_batch_size=4,
    max_seq_length=32,
    packing=True,
    learning_rate=1e-1,
    # Or Adam would make steps of rounding errors where a gradient is close to zero.
    adam_epsilon=1e-2,
    adapter=AdapterSpec(lora=LoraSpec(rank=2, base_dtype=BaseDtype.NF4)),
    eval_every_steps=2,
    final_model=FinalModel.BEST,
)
"""All that is laid out otherwise than whole weights of one pass."""


class Curve(Observer):
    """Keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.evaluations: list[float] = []

    def evaluation(self, point: EvalPoint) -> None:
        """Keep one."""
        self.evaluations.append(point.eval_loss)

    def metric(self, point: MetricPoint) -> None:
        """Keep one."""
        self.losses.append(point.loss)


@functools.cache
def trainer(family: str, mesh: str, *, adapter: bool = False) -> Trainer:
    spec = ADAPTED if adapter else SPEC
    generator = np.random.default_rng(0)
    examples = [
        Example.of(tuple(int(t) for t in generator.integers(0, 50, 12)), 4) for _ in range(16)
    ]
    model = model_from_config(CONFIGS[family])
    stream = BatchStream(examples, Collator.of(spec), seed=0)
    spec = dataclasses.replace(spec, mesh=MESHES[mesh])
    return Trainer(model, make_objective(spec), stream, spec, {}, examples[:5])


def adapted(mesh: str, root: Path) -> dict[str, Any]:
    """Return the outcome of an adapter's training on a mesh."""
    curve = Curve()
    params = model_from_config(CONFIGS["llama"]).init(0)
    made = trainer("llama", mesh, adapter=True)
    trained = made.train(HeldWeights(params), root / "adapted" / mesh, curve)
    merged = dict(made.trainable.merge(trained.params, params))
    return {
        "losses": curve.losses,
        "evaluations": curve.evaluations,
        "merged": {name: np.asarray(value).ravel().tolist() for name, value in merged.items()},
    }


def main(root: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {"devices": len(jax.devices()), "losses": {}, "shards": {}}
    for family, config in CONFIGS.items():
        params = model_from_config(config).init(0)
        for mesh in COMPARED[family]:
            curve, folder = Curve(), root / family / mesh
            trained = trainer(family, mesh).train(HeldWeights(params), folder, curve)
            seen["losses"][f"{family}/{mesh}"] = curve.losses
            parts = {
                name: value.size / value.addressable_shards[0].data.size
                for name, value in trained.params.items()
            }
            seen["shards"][f"{family}/{mesh}"] = parts
    seen["resumed"] = {}
    params = model_from_config(CONFIGS["gpt2"]).init(0)
    for written, restored in (("all", "one"), ("one", "all"), ("all", "data_tensor")):
        curve = Curve()
        (path, _) = list_checkpoints(root / "gpt2" / written)
        trainer("gpt2", restored).train(HeldWeights(params), root / "again", curve, resume=path)
        seen["resumed"][f"{written} to {restored}"] = curve.losses
    seen["adapted"] = {mesh: adapted(mesh, root) for mesh in ("one", "all")}
    last = list_checkpoints(root / "gpt2" / "all")[-1]
    seen["mesh"] = json.loads((last / CERTIFICATE).read_text())["conditions"]["mesh"]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
