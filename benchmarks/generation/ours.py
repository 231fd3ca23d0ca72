"""The engine's side of a race: ``python -m benchmarks.generation.ours FOLDER WORKLOAD``."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.generation.workloads import WORKLOADS
from benchmarks.racer import serve
from training.generate.generator import Generator
from training.generate.sampling import Sampling
from training.models.folder import load_model


def main(folder: Path, name: str) -> None:
    """Serve whole generations of the workload ``name``."""
    work = WORKLOADS[name]()
    generator = Generator(*load_model(folder), end_ids=())
    sampling = Sampling(max(work.answers))

    def steps(count: int) -> None:
        for _ in range(count):
            parts = generator.generate(work.prompts, sampling, work.batch_size, limits=work.answers)
            made = sum(each.count for part in parts for each in part)
            if made != work.tokens:
                raise RuntimeError(f"{made} tokens were generated, not {work.tokens}")

    serve(steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
