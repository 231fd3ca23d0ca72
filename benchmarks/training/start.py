"""From data ready to the first step done: ``python -m benchmarks.training.start SHAPE CACHE``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.child import tell
from benchmarks.training.shapes import SHAPES
from training.machine.runtime import prepare_process, require_device


def main(name: str, cache: Path) -> None:
    """Print the seconds from weights and tokens in memory to the end of the first step."""
    prepare_process(cache_dir=cache)
    require_device()
    from benchmarks.training.timings import Timings, make_trainer
    from training.models.registry import model_from_config
    from training.models.stored_weights import HeldWeights

    shape = SHAPES[name]
    model = model_from_config(shape.config)
    params = model.init(0)
    for value in params.values():
        value.block_until_ready()
    timings = Timings()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        make_trainer(model, shape).trainer.train(HeldWeights(params), Path(folder), timings, last=1)
    tell({"first_step": timings.times[-1] - begin})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
