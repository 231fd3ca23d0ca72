"""A real training of a shape, and the times of its compiled calls."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.training.shapes import LENGTH, Shape
from tailrace.formats.spec.run_spec import AdapterSpec, TrainSpec
from training.data.batches import BatchStream, Collator
from training.data.example_store import Example
from training.loop.trainer import Trainer
from training.models.family import Model
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective
from training.observer import Observer

NEVER = 10_000_000
"""Steps between checkpoints for a training without any."""


class TrainerParts(NamedTuple):
    """A trainer with its model's settings and data."""

    trainer: Trainer
    spec: TrainSpec
    stream: BatchStream
    examples: list[Example]


def make_trainer(
    model: Model,
    shape: Shape,
    save_every_steps: int = NEVER,
    adapter: AdapterSpec | None = None,
) -> TrainerParts:
    """Return a trainer on random examples that fill their rows."""
    spec = TrainSpec(
        max_steps=NEVER,
        batch_size=shape.rows,
        max_seq_length=LENGTH + 1,
        learning_rate=1e-4,
        gradient_clip=1.0,
        adapter=adapter,
        save_every_steps=save_every_steps,
        steps_per_dispatch=shape.steps,
    )
    vocabulary = shape.config["vocab_size"]
    tokens = np.random.default_rng(0).integers(0, vocabulary, (16 * shape.rows, LENGTH + 1))
    examples = [Example.of(tuple(row), 1) for row in tokens.tolist()]
    stream = BatchStream(examples, Collator.of(spec), seed=0)
    return TrainerParts(
        Trainer(model, make_objective(spec), stream, spec, {}), spec, stream, examples
    )


class Timings(Observer):
    """Observer that records the time of every boundary."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def progress(self, done: int, total: int, unit: str) -> None:
        """Record the end of a compiled call with its evaluation and save, or the first begin."""
        self.times.append(time.perf_counter())


def run(trainer: Trainer, model: Model, steps: int) -> list[float]:
    """Train for some steps; return the seconds of each compiled call with its evaluation and save.

    Work after the boundary of a call (a checkpoint) counts for the next call; work after the last
    boundary does not count.
    """
    timings = Timings()
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(HeldWeights(model.init(0)), Path(folder), timings, last=steps)
    return np.diff(timings.times).tolist()
