"""A compiled call in the loop, or bare: ``python -m benchmarks.training.loop SHAPE SIDE``."""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.child import tell
from benchmarks.training.laps import make_trainer, run
from benchmarks.training.shapes import SHAPES
from benchmarks.training.subject import Subject
from training.models.registry import model_from_config

CALLS = 4
"""Compiled calls that are measured."""


def main(name: str, side: str) -> None:
    """Print the median of a side, ``loop`` or ``bare``, in seconds a step.

    Each side has a process to itself: with the state of two trainings in one, the side whose
    memory was paged in last wins.
    """
    shape = SHAPES[name]
    if side == "loop":
        model = model_from_config(shape.config)
        trainer = make_trainer(model, shape).trainer
        # The first call is compiled, and the next one pays for what lies cold.
        times = run(trainer, model, (CALLS + 2) * shape.steps)[2:]
    else:
        subject = Subject(shape)
        times = [subject.timed() for _ in range(CALLS + 2)][2:]
    tell({"step": median(times) / shape.steps})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
