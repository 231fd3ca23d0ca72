"""A real training of a shape, and when its compiled calls ended."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.training.shapes import LENGTH, Shape
from tailrace.formats.spec.run_spec import AdapterSpec, TrainSpec
from training.data.batches import BatchStream, Collator
from training.data.encode import Example
from training.loop.trainer import Trainer
from training.models.family import Model
from training.objectives.registry import make_objective
from training.observer import Observer

NEVER = 10_000_000
"""Steps between checkpoints where there shall be none."""


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
    """A trainer on random examples that fill their rows."""
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
    examples = [Example(tuple(row), 1) for row in tokens.tolist()]
    stream = BatchStream(examples, Collator.of(spec), seed=0)
    return TrainerParts(
        Trainer(model, make_objective(spec), stream, spec, {}), spec, stream, examples
    )


class Timings(Observer):
    """Keeps the time of every boundary."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def progress(self, done: int, total: int, unit: str) -> None:
        """A compiled call and what was due after it are done, or it begins (the first time)."""
        self.times.append(time.perf_counter())


def run(trainer: Trainer, model: Model, steps: int) -> list[float]:
    """Train for some steps; seconds of each compiled call with what was due around it.

    What a call leaves to do after its boundary (a checkpoint) counts to the next one, and nothing
    after the last boundary counts at all.
    """
    timings = Timings()
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(model.init(0), Path(folder), timings, last=steps)
    return np.diff(timings.times).tolist()
