"""The command of a table: chosen cases, one line a bar, and the exit status."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from benchmarks.bars import Bar, exit_status
from training.machine.runtime import processor


def run_cases(
    program: str,
    text: str | None,
    cases: Mapping[str, Callable[[int], Bar | list[Bar]]],
    peers: Sequence[str] = (),
) -> int:
    """Measure the cases that the command line names; returns the exit status.

    ``peers`` are further packages whose versions the first line shows.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=text)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)}; all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default: 5)")
    options = parser.parse_args()
    strangers = [name for name in options.cases if name not in cases]
    if strangers:
        parser.error(f"unknown: {', '.join(strangers)}; known: {', '.join(cases)}")
    names = ("jax", "torch", "transformers", *peers)
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    print(
        f"{datetime.date.today()}  {os.cpu_count()} × {processor()}; {packages}; medians of turns"
    )
    bars: list[Bar] = []
    for name in options.cases or cases:
        found = cases[name](options.rounds)
        for bar in found if isinstance(found, list) else [found]:
            print(bar, flush=True)
            bars.append(bar)
    return exit_status(bars)
