"""LoRA on a quantized base beside the plain one: memory, error, evaluation loss, time of a step.

``python -m benchmarks.training.quantized MODEL`` trains golden-v2 on a model folder, a tenth of
whose prompts are held out.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tailrace.formats.data.golden import golden_v2
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    BaseDtype,
    LoraSpec,
    ModelSpec,
    TrainSpec,
)
from training.data.batches import BatchStream
from training.loop.eval_loss import Evaluator
from training.loop.lora import find_targets
from training.loop.start import Start, prepare
from training.loop.trainer import Trainer
from training.models.family import Params
from training.models.quantized import dequantize
from training.observer import EvalPoint, MetricPoint, Observer

FLOAT32 = 4
"""Bytes of a value."""


class Curve(Observer):
    """Evaluation losses and the times of calls."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.times: list[float] = []

    def evaluation(self, point: EvalPoint) -> None:
        """Keep the loss."""
        self.losses.append(point.eval_loss)

    def metric(self, point: MetricPoint) -> None:
        """Keep the time."""
        self.times.append(time.perf_counter())


def stored(frozen: Params) -> dict[str, int]:
    """Return the bytes of each frozen weight on the device, where a byte has two codes of nf4."""
    return {
        name: sum(
            leaf.size // 2 if leaf.dtype == jnp.uint4 else leaf.nbytes
            for leaf in jax.tree.leaves(weight)
        )
        for name, weight in frozen.items()
    }


def relative_error(start: Start, frozen: dict[str, Any]) -> float:
    """Return the root mean square error of all quantized weights, over that of the weights."""
    errors, squares = 0.0, 0.0
    for name, stored_weight in frozen.items():
        if isinstance(stored_weight, jax.Array):
            continue
        weight = start.weights.tensor(name, None, jnp.float32)
        errors += float(jnp.sum(jnp.square(dequantize(stored_weight) - weight)))
        squares += float(jnp.sum(jnp.square(weight)))
    return math.sqrt(errors / squares) if squares else 0.0


def measure(start: Start, train: TrainSpec) -> str:
    """Train and return a line of the table."""
    collator = start.objective.collator(train.batch_size)
    stream = BatchStream(start.encoded.examples, collator, train.seed)
    held_out = start.held_out.examples
    trainer = Trainer(start.model, start.objective, stream, train, start.identity, held_out)
    trained, frozen = trainer.trainable.start(start.weights)
    evaluator = Evaluator(
        start.objective, trainer.trainable, trainer.layout, held_out, train, train.batch_size
    )
    before = evaluator.figures(trained, frozen).loss
    error = relative_error(start, frozen)
    held = stored(frozen)
    del trained, frozen
    curve = Curve()
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(start.weights, Path(folder), curve)
    steps = [later - earlier for earlier, later in zip(curve.times, curve.times[1:], strict=False)]
    whole = sum(held.values())
    linear = {layer.weight for layer in find_targets(start.model, [])}
    codes = sum(held[name] for name in linear)
    plain = FLOAT32 * sum(prod(start.model.shapes[name]) for name in linear)
    share = whole / (start.model.parameters * FLOAT32)
    return (
        f"layers {codes / plain:.3f}  model {share:.3f} ({whole / 1e6:.0f} MB)  "
        f"error {error:.4f}  evaluation loss {before:.4f} -> {curve.losses[-1]:.4f}  "
        f"step {statistics.median(steps):.2f} s"
    )


def main() -> None:
    """Print a line for each type of the base."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.quantized")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps (default: 60)")
    options = parser.parse_args()
    for dtype in BaseDtype:
        train = TrainSpec(
            max_steps=options.steps,
            batch_size=4,
            max_seq_length=128,
            packing=True,
            learning_rate=5e-4,
            warmup_steps=2,
            eval_fraction=0.1,
            eval_every_steps=options.steps,
            log_every_steps=1,
            steps_per_dispatch=1,
            seed=42,
            adapter=AdapterSpec(lora=LoraSpec(rank=16, base_dtype=dtype)),
        )
        model = ModelSpec(source=str(options.model))
        print(
            f"{dtype.value:>5}",
            measure(prepare(model, train, golden_v2(), options.model), train),
            flush=True,
        )


if __name__ == "__main__":
    main()
