"""What the loop adds to its compiled calls: ``python -m benchmarks.training.loop SHAPE``."""

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
"""Compiled calls that are measured."""


def main(name: str) -> None:
    """Print the seconds a step of the whole loop, and those in which it waits for compiled calls.

    Both are taken in one training: of two processes one after the other, the machine's mood makes
    one slower by more than the loop costs.
    """
    shape = SHAPES[name]
    model = model_from_config(shape.config)
    trainer = make_trainer(model, shape).trainer
    steps = trainer._steps
    waited: list[float] = []

    def timed(*arguments: Any) -> Any:
        begun = time.perf_counter()
        state, computed = steps(*arguments)
        np.asarray(computed.losses)
        waited.append(time.perf_counter() - begun)
        return state, computed

    trainer._steps = timed
    # The first call is compiled, and the next one pays for what lies cold.
    whole = run(trainer, model, (CALLS + 2) * shape.steps)[2:]
    count = CALLS * shape.steps
    tell({"loop": sum(whole) / count, "bare": sum(waited[2:]) / count})


if __name__ == "__main__":
    main(sys.argv[1])
