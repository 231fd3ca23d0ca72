"""Peak memory: ``python -m benchmarks.training.memory SHAPE full|lora``."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.child import tell
from benchmarks.training.shapes import SHAPES
from benchmarks.training.subject import Subject
from benchmarks.training.timings import make_trainer
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec
from training.budget.estimate import estimate
from training.machine.accelerators import host_memory_peak


def main(name: str, method: str) -> None:
    """Print bytes: as computed, by XLA's buffer assignment, and resident after real steps."""
    shape = SHAPES[name]
    adapter = AdapterSpec(lora=LoraSpec(rank=16, alpha=32)) if method == "lora" else None
    subject = Subject(shape, adapter)
    parts = make_trainer(subject.model, shape, adapter=adapter)
    computed = estimate(subject.model, parts.spec, parts.trainer, parts.stream, 0).memory
    steps: Any = subject.steps
    lowered = steps.lower(subject.state, subject.frozen, subject.batch, 0, subject.key)
    analysis = lowered.compile().memory_analysis()
    subject.call()
    subject.call()
    tell(
        {
            "computed": computed.device,
            "assigned": analysis.argument_size_in_bytes + analysis.temp_size_in_bytes,
            "resident": host_memory_peak(),
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
