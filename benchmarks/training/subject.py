"""Compiled steps without the training loop, for one side of a race."""

from __future__ import annotations

import jax
import numpy as np

from benchmarks.training.shapes import LENGTH, Shape
from tailrace.formats.spec.run_spec import AdapterSpec, MeshSpec, TrainSpec
from training.data.batches import Batch
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.steps import compile_steps
from training.loop.trainable import choose_trainable
from training.machine.sharding import Layout, make_mesh
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective


class Subject:
    """Compiled steps of a shape with their arguments."""

    def __init__(self, shape: Shape, adapter: AdapterSpec | None = None) -> None:
        spec = TrainSpec(
            max_steps=1_000_000,
            batch_size=shape.rows,
            max_seq_length=LENGTH,
            learning_rate=1e-4,
            gradient_clip=1.0,
            adapter=adapter,
        )
        self.model = model_from_config(shape.config)
        self.trainable = choose_trainable(self.model, spec)
        optimizer = make_optimizer(spec, learning_rate(spec, 1_000_000))
        layout = Layout.of(self.model.family.model_type, make_mesh(MeshSpec(), shape.rows))
        self.steps = compile_steps(make_objective(spec), self.trainable, optimizer, layout)
        trained, self.frozen = self.trainable.start(HeldWeights(self.model.init(0)), layout)
        # As in the trainer: a state with another layout would be compiled again.
        shardings = layout.shardings(jax.eval_shape(optimizer.init, trained))
        self.state = (trained, jax.jit(optimizer.init, out_shardings=shardings)(trained))
        self.batch = random_batch(shape, shape.config["vocab_size"])
        self.key = jax.random.key(0)
        self.done = 0

    def call(self) -> None:
        """Run one compiled call and wait for it as the training loop does."""
        self.state, computed = self.steps(self.state, self.frozen, self.batch, self.done, self.key)
        self.done += self.batch.tokens.shape[0]
        np.asarray(computed.losses)


def random_batch(shape: Shape, vocabulary: int) -> Batch:
    """Return the rows of one call, in which every token counts."""
    size = (shape.steps, shape.rows, LENGTH)
    tokens = np.random.default_rng(0).integers(0, vocabulary, size, np.int32)
    return Batch(tokens, np.roll(tokens, -1, axis=-1), np.ones(size, np.float32))
