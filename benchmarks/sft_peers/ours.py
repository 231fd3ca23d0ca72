"""Our side of the race: ``python -m benchmarks.sft_peers.ours packed|padded``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from benchmarks.sft_peers.pace import Pace
from benchmarks.sft_peers.workload import Workload, run_file_workload
from training.observer import MetricPoint, Observer


class PacedObserver(Observer):
    """Observer that lets the training go on when its next steps are asked for."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._loss: float | None = None

    def metric(self, point: MetricPoint) -> None:
        """Keep the loss of the step."""
        self._loss = point.loss

    def progress(self, done: int, total: int, unit: str) -> None:
        """Wait at the start and after the last step of a turn."""
        if self._loss is None:
            self._pace.start()
        else:
            self._pace.step(self._loss)


def compile_shapes(workload: Workload) -> None:
    """Run one step for each shape of the first epoch on a state that is thrown away."""
    trainer = workload.trainer
    shapes = set()
    for step in range(workload.stream.steps_per_epoch):
        batch, _ = workload.stream.batch(step, 1)
        if batch.tokens.shape in shapes:
            continue
        shapes.add(batch.tokens.shape)
        state, frozen = trainer._begin(workload.start.weights, None)
        _, computed = trainer._steps(state.values, frozen, batch, 0, jax.random.key(0))
        np.asarray(computed.losses)


def main(layout: str) -> None:
    """Train at the pace of standard input."""
    workload = run_file_workload(packing=layout == "packed")
    compile_shapes(workload)
    with tempfile.TemporaryDirectory() as folder:
        workload.trainer.train(workload.start.weights, Path(folder), PacedObserver(Pace()))


if __name__ == "__main__":
    main(sys.argv[1])
