"""Our side of the race: ``python -m benchmarks.methods.grpo_ours SHAPE``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.methods.grpo_workload import make_trainer
from benchmarks.sft_peers.ours import PacedObserver
from benchmarks.sft_peers.pace import Pace


def main(shape: str) -> None:
    """Train at the pace of standard input."""
    with tempfile.TemporaryDirectory() as name:
        observer = PacedObserver(Pace())
        start, trainer = make_trainer(shape, Path(name), observer)
        trainer.train(start.weights, Path(name) / "checkpoints", observer)


if __name__ == "__main__":
    main(sys.argv[1])
