"""Prints the step speed of every family beside PyTorch's: ``python -m benchmarks.families``.

Needs PyTorch (``pip install -e ".[bench]"``). Exit status 1 when a bar is not held.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from benchmarks.bars import Bar
from benchmarks.families.configs import CONFIGS, MIXTURES
from benchmarks.table import run_cases
from benchmarks.training.peers import race

STEPS = 10
"""Steps of a turn."""


def case(name: str, rounds: int) -> Bar:
    """Race the model of one family; mixtures of experts are named so."""
    bar = race(name, 1.0, STEPS, rounds)
    return replace(bar, what=f"experts: {bar.what}") if name in MIXTURES else bar


if __name__ == "__main__":
    names = sorted(CONFIGS, key=lambda name: name in MIXTURES)
    cases = {name: partial(case, name) for name in names}
    sys.exit(run_cases("benchmarks.families", __doc__, cases))
