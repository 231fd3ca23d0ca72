"""Tokens per second against PyTorch: transformers' model with torch.optim.AdamW."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from benchmarks.bars import Bar
from benchmarks.racer import Racer
from benchmarks.training.shapes import LENGTH, SHAPES


def race(name: str, limit: float, steps: int, rounds: int, *, fused: bool = False) -> Bar:
    """Let both sides run ``steps`` steps in turn, ``rounds`` times.

    ``fused`` adds PyTorch's fused AdamW as a third side; the faster peer counts.
    """
    sides: dict[str, tuple[str, ...]] = {
        "tailrace": ("training.ours", name),
        "PyTorch": ("training.pytorch", name),
    }
    if fused:
        sides["PyTorch, fused AdamW"] = ("training.pytorch", name, "fused")
    rates: dict[str, list[float]] = {side: [] for side in sides}
    with ExitStack() as stack:
        racers = {side: stack.enter_context(Racer(*call)) for side, call in sides.items()}
        for racer in [*racers.values()] * 2:
            racer.run(steps)
        for _ in range(rounds):
            for side, racer in racers.items():
                rates[side].append(steps * SHAPES[name].rows * LENGTH / racer.run(steps))
    medians = {side: median(measured) for side, measured in rates.items()}
    ours = medians.pop("tailrace")
    peer = max(medians, key=lambda side: medians[side])
    texts = (f"{side} {r:,.0f} (best {max(rates[side]):,.0f})" for side, r in medians.items())
    detail = f"{ours:,.0f} tokens/s (best {max(rates['tailrace']):,.0f}); " + ", ".join(texts)
    return Bar(
        f"{name} {SHAPES[name].rows}×{LENGTH} fp32, over {peer}",
        ours / medians[peer],
        limit,
        detail,
    )
