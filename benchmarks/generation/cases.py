"""The table's lines: what is measured, and what it is held against."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.bars import Bar
from benchmarks.child import measure
from benchmarks.generation.workloads import WORKLOADS, write_model
from benchmarks.racer import Racer


def race(shape: str, workload: str, limit: float, rounds: int) -> Bar:
    """Let both sides generate the workload with the same weights in turn, ``rounds`` times."""
    tokens = WORKLOADS[workload]().tokens
    rates: dict[str, list[float]] = {"ours": [], "pytorch": []}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_model(shape, Path(folder))
        racers = {
            side: stack.enter_context(Racer(f"generation.{side}", folder, workload))
            for side in rates
        }
        for racer in racers.values():
            racer.run(1)
        for _ in range(rounds):
            for side, racer in racers.items():
                rates[side].append(tokens / racer.run(1))
    ours, theirs = (median(each) for each in rates.values())
    best = [max(each) for each in rates.values()]
    detail = (
        f"{ours:,.0f} tokens/s (best {best[0]:,.0f}), "
        f"transformers {theirs:,.0f} (best {best[1]:,.0f})"
    )
    return Bar(f"{shape} {workload}, over transformers", ours / theirs, limit, detail)


def second_start(shape: str, rounds: int) -> Bar:
    """A start with an empty cache of compiled programs over one with a filled cache."""
    starts: dict[str, list[float]] = {"first": [], "second": []}
    with tempfile.TemporaryDirectory() as folder:
        write_model(shape, Path(folder))
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as cache:
                for times in starts.values():
                    times.append(measure("generation.start", folder, cache)["first_token"])
    first, second = (median(times) for times in starts.values())
    detail = f"first token after {first:.2f} s, second time {second:.2f} s"
    return Bar(f"{shape}: first start over second", first / second, 2, detail)


CASES: dict[str, Callable[[int], Bar]] = {
    "distilgpt2": lambda rounds: race("distilgpt2", "even", 1.5, rounds),
    "smollm2": lambda rounds: race("smollm2-135m", "even", 1.3, rounds),
    "4x128": lambda rounds: race("4x128", "even", 1.5, rounds),
    "mixed": lambda rounds: race("4x128", "mixed", 2, rounds),
    "mixed-distilgpt2": lambda rounds: race("distilgpt2", "mixed", 2, rounds),
    "start": lambda rounds: second_start("distilgpt2", rounds),
}
"""By the name that the command takes."""
