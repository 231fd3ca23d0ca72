"""The bars: pairs per second, peak memory and losses of training on preferences, against TRL."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.bars import Bar
from benchmarks.child import measure
from benchmarks.methods.dpo_workload import PreferenceInputs
from benchmarks.racer import Racer
from benchmarks.sft_peers.pace import PacedTraining

STEPS_PER_TURN = 4

FASTER = 1.1
"""Smallest ratio of pairs per second."""

MOST_MEMORY = 1.25
"""Largest ratio of peak resident bytes."""

LOSS_DIFFERENCE = 1e-3
"""Largest relative difference of the losses."""


def race(shape: str, rounds: int) -> list[Bar]:
    """Let both sides train on the same pairs in turns."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        steps = (rounds + 1) * STEPS_PER_TURN
        measure("methods.dpo_workload", shape, name, str(steps))
        calls = {"ours": ("methods.dpo_ours", shape, name), "TRL": ("methods.dpo_trl", name)}
        sides: dict[str, PacedTraining] = {}
        for side, call in calls.items():
            racer = stack.enter_context(Racer(*call))
            racer.ask("")
            sides[side] = PacedTraining(racer)
        # The first turn lets the allocators grow; its speed does not count.
        for _ in range(rounds + 1):
            for training in sides.values():
                training.run(STEPS_PER_TURN)
        pairs = STEPS_PER_TURN * PreferenceInputs.load(Path(name)).batch_size
        peaks = {side: training.racer.peak_bytes() for side, training in sides.items()}
    rates = {
        side: [pairs / turn.seconds for turn in training.turns[1:]]
        for side, training in sides.items()
    }
    ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates["TRL"], strict=True)]
    losses = list(zip(sides["ours"].losses, sides["TRL"].losses, strict=True))
    worst = max(abs(ours - theirs) / theirs for ours, theirs in losses)
    texts = (f"{side} {median(values):.2f}" for side, values in rates.items())
    return [
        Bar(
            f"DPO {shape}: pairs/s over TRL",
            median(ratios),
            FASTER,
            f"{', '.join(texts)} pairs/s; turns {min(ratios):.2f}-{max(ratios):.2f}",
        ),
        Bar(
            f"DPO {shape}: peak memory over TRL",
            peaks["ours"] / peaks["TRL"],
            MOST_MEMORY,
            ", ".join(f"{side} {peak / 2**20:,.0f} MiB" for side, peak in peaks.items()),
            at_most=True,
        ),
        Bar(
            f"DPO {shape}: losses, difference over {LOSS_DIFFERENCE:g}",
            worst / LOSS_DIFFERENCE,
            1,
            f"{losses[0][0]:.6f} and {losses[-1][0]:.6f}, TRL {losses[0][1]:.6f} and "
            f"{losses[-1][1]:.6f}: at most {worst:.1e} of it",
            at_most=True,
        ),
    ]
