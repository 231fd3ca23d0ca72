"""Cost of checkpoints: ``python -m benchmarks.training.stall SHAPE EVERY ROUNDS``."""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.child import tell
from benchmarks.training.shapes import SHAPES
from benchmarks.training.timings import NEVER, make_trainer, run
from training.models.registry import model_from_config

SAVES = 2
"""Number of checkpoints in a measured training."""


def main(name: str, every: int, rounds: int) -> None:
    """Print the seconds per step without checkpoints, and the seconds that a checkpoint adds.

    Both kinds of training alternate. The last checkpoint has a whole interval for its writing, so
    that its cost for concurrent steps counts, too.
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
            # One call less: the end of the interval would save once more.
            seconds[kind].append(sum(run(trainer, model, steps - shape.steps)))
    without, added = (
        median(seconds["without"]),
        median(seconds["with"]) - median(seconds["without"]),
    )
    tell({"step": without / (steps - shape.steps), "checkpoint": added / SAVES})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
