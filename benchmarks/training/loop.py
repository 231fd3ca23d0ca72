"""The training loop's call beside the bare compiled one: ``python -m benchmarks.training.loop``."""

from __future__ import annotations

import sys
import time
from statistics import median

from benchmarks.child import tell
from benchmarks.training.laps import make_trainer, run
from benchmarks.training.shapes import SHAPES
from benchmarks.training.subject import Subject

CALLS = 4
"""Compiled calls that a side makes at a time."""


def main(name: str, rounds: int) -> None:
    """Print the medians of both, in seconds a step; they take turns."""
    shape = SHAPES[name]
    subject = Subject(shape)
    trainer = make_trainer(subject.model, shape).trainer
    loop: list[float] = []
    bare: list[float] = []
    subject.call()
    run(trainer, subject.model, shape.steps)
    for _ in range(rounds):
        # Nothing is compiled any more, but the first call pays for what lies cold.
        loop += run(trainer, subject.model, (CALLS + 1) * shape.steps)[1:]
        subject.call()
        for _ in range(CALLS):
            begun = time.perf_counter()
            subject.call()
            bare.append(time.perf_counter() - begun)
    tell({"loop": median(loop) / shape.steps, "bare": median(bare) / shape.steps})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
