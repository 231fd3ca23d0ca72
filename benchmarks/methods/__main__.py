"""Prints the table of training methods against TRL: ``python -m benchmarks.methods [CASE ...]``.

Needs ``pip install -e ".[bench]"`` and, for SmolLM2, ``make smollm2``. Exit status 1 when a bar is
not held.
"""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.methods import dpo_race, grpo_race
from benchmarks.methods.dpo_workload import SHAPES
from benchmarks.table import run_cases

if __name__ == "__main__":
    cases = {f"grpo-{shape}": partial(grpo_race.race, shape) for shape in grpo_race.LIMITS}
    cases |= {f"dpo-{shape}": partial(dpo_race.race, shape) for shape in SHAPES}
    sys.exit(run_cases("benchmarks.methods", __doc__, cases, ("trl", "peft")))
