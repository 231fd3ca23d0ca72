"""Our side of the race: ``python -m benchmarks.methods.dpo_ours SHAPE FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.methods.dpo_workload import make_workload
from benchmarks.sft_peers.ours import PacedObserver, compile_shapes
from benchmarks.sft_peers.pace import Pace


def main(shape: str, folder: Path) -> None:
    """Train at the pace of standard input."""
    workload = make_workload(shape, folder)
    compile_shapes(workload)
    with tempfile.TemporaryDirectory() as checkpoints:
        observer = PacedObserver(Pace())
        workload.trainer.train(workload.start.weights, Path(checkpoints), observer)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
