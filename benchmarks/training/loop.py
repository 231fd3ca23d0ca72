"""Overhead of the loop over its compiled calls: ``python -m benchmarks.training.loop SHAPE``."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from benchmarks.child import tell
from benchmarks.training.shapes import SHAPES
from benchmarks.training.timings import make_trainer, run
from training.models.registry import model_from_config

CALLS = 4
"""Number of measured calls."""


def main(name: str) -> None:
    """Print the seconds per step of the whole loop, and of its compiled calls alone.

    Both come from one training: two processes one after the other differ by more than the cost of
    the loop.
    """
    shape = SHAPES[name]
    model = model_from_config(shape.config)
    trainer = make_trainer(model, shape).trainer
    steps = trainer._steps
    waited: list[float] = []

    def timed(*arguments: Any) -> Any:
        begin = time.perf_counter()
        state, computed = steps(*arguments)
        np.asarray(computed.losses)
        waited.append(time.perf_counter() - begin)
        return state, computed

    trainer._steps = timed
    # The first call is compiled, and the second one fills the caches.
    seconds = run(trainer, model, (CALLS + 2) * shape.steps)[2:]
    count = CALLS * shape.steps
    tell({"loop": sum(seconds) / count, "bare": sum(waited[2:]) / count})


if __name__ == "__main__":
    main(sys.argv[1])
