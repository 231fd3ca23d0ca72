"""golden-v2 in packed rows and in rows padded to 128: ``python -m benchmarks.training.packing``."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from statistics import median

import numpy as np

from benchmarks.child import tell
from benchmarks.training.shapes import LENGTH, SHAPES
from benchmarks.training.subject import Subject
from tailrace.formats.data.golden import golden_v2
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from training.data.batches import Batch, Collator
from training.loop.start import prepare

EXAMPLES = 16
"""Number of examples in a step."""


def main(name: str, rounds: int) -> None:
    """Print the medians of both in seconds per step; they alternate on the same examples."""
    shape = replace(SHAPES[name], rows=EXAMPLES, steps=1)
    spec = TrainSpec(max_steps=1, batch_size=EXAMPLES, eval_fraction=0.0)
    # The preset's tokenizer needs no download; its examples are longer than with GPT-2's, which
    # understates the gain.
    examples = prepare(ModelSpec(preset="gpt2-nano"), spec, golden_v2()).encoded.examples
    chosen = [examples[: EXAMPLES // 2] + examples[-EXAMPLES // 2 :]]
    batches = {
        "padded": _pad(Collator(EXAMPLES).collate(chosen)),
        "packed": Collator(EXAMPLES, LENGTH + 1).collate(chosen),
    }
    subject = Subject(shape)
    seconds: dict[str, list[float]] = {kind: [] for kind in batches}
    for number in range(rounds + 1):
        for kind, subject.batch in batches.items():
            begin = time.perf_counter()
            subject.call()
            if number:
                seconds[kind].append(time.perf_counter() - begin)
    tokens = sum(len(example.tokens) for example in chosen[0])
    tell({"tokens": tokens, **{kind: median(times) for kind, times in seconds.items()}})


def _pad(batch: Batch) -> Batch:
    """Return the rows padded to ``LENGTH``."""

    def fill(values: np.ndarray) -> np.ndarray:
        return np.pad(values, ((0, 0), (0, 0), (0, LENGTH - values.shape[-1])))

    return Batch(fill(batch.tokens), fill(batch.targets), fill(batch.weights))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
