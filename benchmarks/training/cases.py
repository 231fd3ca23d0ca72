"""The lines of the table: measurements and their bars."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from statistics import median

from benchmarks.bars import Bar
from benchmarks.child import measure
from benchmarks.training.peers import race
from tailrace.formats.spec.run_spec import TrainSpec

INTERVAL = TrainSpec().save_every_steps
"""Steps between checkpoints by default."""


def overhead(name: str, rounds: int) -> Bar:
    """Compare the training loop with the bare compiled call."""
    turns = [measure("training.loop", name) for _ in range(rounds)]
    loop, bare = (median(turn[side] for turn in turns) for side in ("loop", "bare"))
    detail = f"{1000 * loop:.2f} ms a step, bare {1000 * bare:.2f}"
    return Bar(f"{name}: loop over the bare step", loop / bare, 1.03, detail, at_most=True)


def packing(name: str, rounds: int) -> Bar:
    """Compare packed rows with padded ones."""
    figures = measure("training.packing", name, str(rounds))
    rates = {kind: figures["tokens"] / figures[kind] for kind in ("packed", "padded")}
    detail = f"{rates['packed']:,.0f} useful tokens/s, padded to 128 {rates['padded']:,.0f}"
    return Bar(
        f"{name}: golden-v2 packed over padded", rates["packed"] / rates["padded"], 2, detail
    )


def second_start(name: str, rounds: int) -> Bar:
    """Compare a start with an empty cache of compiled programs with one with a filled cache."""
    starts: dict[str, list[float]] = {"first": [], "second": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for times in starts.values():
                times.append(measure("training.start", name, cache)["first_step"])
    first, second = (median(times) for times in starts.values())
    detail = f"first step after {first:.2f} s, second time {second:.2f} s"
    return Bar(f"{name}: first start over second", first / second, 2, detail)


def memory(name: str, _: int) -> list[Bar]:
    """Compare XLA's assignment with the estimate, and an adapter with all weights."""
    figures = {method: measure("training.memory", name, method) for method in ("full", "lora")}
    bars = [
        Bar(
            f"{name} {method}: memory assigned over computed",
            sizes["assigned"] / sizes["computed"],
            1.15,
            f"{_megabytes(sizes['assigned'])}, computed {_megabytes(sizes['computed'])}, "
            f"resident {_megabytes(sizes['resident'])}",
            at_most=True,
        )
        for method, sizes in figures.items()
    ]
    low, high = figures["lora"]["assigned"], figures["full"]["assigned"]
    detail = f"{_megabytes(low)}, full {_megabytes(high)}"
    return [*bars, Bar(f"{name}: LoRA's memory over full", low / high, 0.5, detail, at_most=True)]


def stall(name: str, every: int, rounds: int) -> Bar:
    """Compare the time with checkpoints at the default interval with the time without."""
    figures = measure("training.stall", name, str(every), str(rounds))
    between = INTERVAL * figures["step"]
    share = figures["checkpoint"] / between
    detail = f"{figures['checkpoint']:.3f} s a checkpoint, {between:.1f} s for {INTERVAL} steps"
    return Bar(f"{name}: with checkpoints over without", 1 + share, 1.05, detail, at_most=True)


CASES: dict[str, Callable[[int], Bar | list[Bar]]] = {
    "distilgpt2": lambda rounds: race("distilgpt2", 1.25, 5, rounds),
    "smollm2": lambda rounds: race("smollm2-135m", 1.0, 2, rounds),
    "4x128": lambda rounds: race("4x128", 1.2, 100, rounds, fused=True),
    "loop": lambda rounds: overhead("distilgpt2", rounds),
    "packing": lambda rounds: packing("distilgpt2", rounds),
    "start": lambda rounds: second_start("distilgpt2", rounds),
    "memory": lambda rounds: memory("distilgpt2", rounds),
    "stall": lambda rounds: [stall("4x128", INTERVAL, rounds), stall("distilgpt2", 10, rounds)],
}
"""Cases by the name that the command takes."""


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
