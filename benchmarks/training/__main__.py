"""Prints the table of the training library: ``python -m benchmarks.training [CASE ...]``.

Needs PyTorch (``pip install -e ".[bench]"``) for the cases that race it. Exit status 1 when a bar
is not held.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from importlib.metadata import version

from benchmarks.bars import Bar, exit_status
from benchmarks.training.cases import CASES
from training.runtime import processor


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default: 5)")
    options = parser.parse_args()
    strangers = [name for name in options.cases if name not in CASES]
    if strangers:
        parser.error(f"unknown: {', '.join(strangers)}; known: {', '.join(CASES)}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "transformers"))
    print(
        f"{datetime.date.today()}  {os.cpu_count()} × {processor()}; {packages}; medians of turns"
    )
    bars: list[Bar] = []
    for name in options.cases or CASES:
        found = CASES[name](options.rounds)
        for bar in found if isinstance(found, list) else [found]:
            print(bar, flush=True)
            bars.append(bar)
    return exit_status(bars)


if __name__ == "__main__":
    sys.exit(main())
