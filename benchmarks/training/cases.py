"""The table's lines: what is measured, and what it is held against."""

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
    """The training loop over the bare compiled call."""
    turns = [measure("training.loop", name) for _ in range(rounds)]
    loop, bare = (median(turn[side] for turn in turns) for side in ("loop", "bare"))
    detail = f"{1000 * loop:.2f} ms a step, bare {1000 * bare:.2f}"
    return Bar(f"{name}: loop over the bare step", loop / bare, 1.03, detail, at_most=True)


def packing(name: str, rounds: int) -> Bar:
    """Packed rows over padded ones."""
    found = measure("training.packing", name, str(rounds))
    rates = {kind: found["tokens"] / found[kind] for kind in ("packed", "padded")}
    detail = f"{rates['packed']:,.0f} useful tokens/s, padded to 128 {rates['padded']:,.0f}"
    return Bar(
        f"{name}: golden-v2 packed over padded", rates["packed"] / rates["padded"], 2, detail
    )


def second_start(name: str, rounds: int) -> Bar:
    """A start with an empty cache of compiled programs over one with a filled cache."""
    starts: dict[str, list[float]] = {"first": [], "second": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for times in starts.values():
                times.append(measure("training.start", name, cache)["first_step"])
    first, second = (median(times) for times in starts.values())
    detail = f"first step after {first:.2f} s, second time {second:.2f} s"
    return Bar(f"{name}: first start over second", first / second, 2, detail)


def memory(name: str, _: int) -> list[Bar]:
    """What XLA assigns over what the estimate says, and an adapter over all weights."""
    found = {method: measure("training.memory", name, method) for method in ("full", "lora")}
    bars = [
        Bar(
            f"{name} {method}: memory assigned over computed",
            each["assigned"] / each["computed"],
            1.15,
            f"{_megabytes(each['assigned'])}, computed {_megabytes(each['computed'])}, "
            f"resident {_megabytes(each['resident'])}",
            at_most=True,
        )
        for method, each in found.items()
    ]
    low, high = found["lora"]["assigned"], found["full"]["assigned"]
    detail = f"{_megabytes(low)}, full {_megabytes(high)}"
    return [*bars, Bar(f"{name}: LoRA's memory over full", low / high, 0.5, detail, at_most=True)]


def stall(name: str, every: int, rounds: int) -> Bar:
    """Time with checkpoints at the default interval over time without."""
    found = measure("training.stall", name, str(every), str(rounds))
    between = INTERVAL * found["step"]
    share = found["checkpoint"] / between
    detail = f"{found['checkpoint']:.3f} s a checkpoint, {between:.1f} s for {INTERVAL} steps"
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
"""By the name that the command takes."""


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
