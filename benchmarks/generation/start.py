"""To the first token of an open model: ``python -m benchmarks.generation.start FOLDER CACHE``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.child import tell
from training.machine.runtime import prepare_process, require_device


def main(folder: Path, cache: Path) -> None:
    """Print the seconds."""
    prepare_process(cache_dir=cache)
    require_device()
    from benchmarks.generation.workloads import even
    from training.generate.generator import Generator
    from training.generate.sampling import Sampling
    from training.models.folder import load_model

    work = even()
    generator = Generator(*load_model(folder), end_ids=())
    begun = time.perf_counter()
    parts = generator.generate(work.prompts, Sampling(max(work.answers)), work.batch_size)
    next(parts)
    first = time.perf_counter() - begun
    for _ in parts:
        pass
    tell({"first_token": first, "all": time.perf_counter() - begun})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
