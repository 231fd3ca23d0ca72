"""What checkpoints cost a training: ``python -m benchmarks.training.stall SHAPE EVERY ROUNDS``."""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.child import tell
from benchmarks.training.shapes import SHAPES
from benchmarks.training.timings import NEVER, make_trainer, run
from training.models.registry import model_from_config

SAVES = 2
"""Checkpoints of a measured training."""


def main(name: str, every: int, rounds: int) -> None:
    """Print seconds a step without checkpoints, and seconds that a checkpoint adds.

    Both kinds of training take turns. The last checkpoint has a whole interval to be written in,
    so that what it takes from the steps beside it counts, too.
    """
    shape = SHAPES[name]
    model = model_from_config(shape.config)
    steps = (SAVES + 1) * every
    kinds = {"without": NEVER, "with": every}
    trainers = {kind: make_trainer(model, shape, saves).trainer for kind, saves in kinds.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for trainer in trainers.values():
        run(trainer, model, shape.steps)
    for _ in range(rounds):
        for kind, trainer in trainers.items():
            # One call less, because the end of the interval would save once more.
            seconds[kind].append(sum(run(trainer, model, steps - shape.steps)))
    without, added = (
        median(seconds["without"]),
        median(seconds["with"]) - median(seconds["without"]),
    )
    tell({"step": without / (steps - shape.steps), "checkpoint": added / SAVES})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
