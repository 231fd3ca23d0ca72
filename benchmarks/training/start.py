"""From data ready to the first step done: ``python -m benchmarks.training.start SHAPE CACHE``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.child import tell
from benchmarks.training.shapes import SHAPES
from training.runtime import prepare_process, require_device


def main(name: str, cache: Path) -> None:
    """Print the seconds."""
    prepare_process(cache_dir=cache)
    require_device()
    from benchmarks.training.laps import make_trainer, run
    from training.models.registry import model_from_config

    shape = SHAPES[name]
    model = model_from_config(shape.config)
    begun = time.perf_counter()
    trainer = make_trainer(model, shape).trainer
    (first,) = run(trainer, model, 1)
    tell({"first_step": first, "all": time.perf_counter() - begun})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
