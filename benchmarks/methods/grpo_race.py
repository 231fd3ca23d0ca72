"""The bars: samples per second and peak memory of training on rewards, against TRL."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.bars import Bar
from benchmarks.child import measure
from benchmarks.methods.grpo_workload import PeerInputs
from benchmarks.racer import Racer
from benchmarks.sft_peers.pace import PacedTraining

STEPS_PER_TURN, WARM_UP_TURNS = 2, 3

LIMITS = {"smollm2": 1.3, "4x128": 1.5}
"""Smallest ratio of samples per second, by shape."""

MOST_MEMORY = 1.25
"""Largest ratio of peak resident bytes."""


def race(shape: str, rounds: int) -> list[Bar]:
    """Let both sides train in turns: sampling, judging and updates."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        measure("methods.grpo_workload", shape, name)
        calls = {"ours": ("methods.grpo_ours", shape), "TRL": ("methods.grpo_trl", name)}
        sides: dict[str, PacedTraining] = {}
        for side, call in calls.items():
            racer = stack.enter_context(Racer(*call))
            racer.ask("")
            sides[side] = PacedTraining(racer)
        for training in sides.values():
            # The first steps compile the shapes of answers, and let the allocators grow.
            training.run(WARM_UP_TURNS * STEPS_PER_TURN)
            training.turns.clear()
        for _ in range(rounds):
            for training in sides.values():
                training.run(STEPS_PER_TURN)
        inputs = PeerInputs.load(Path(name))
        peaks = {side: training.racer.peak_bytes() for side, training in sides.items()}
    samples = STEPS_PER_TURN * inputs.batch_size * inputs.n_samples
    rates = {
        side: [samples / turn.seconds for turn in training.turns]
        for side, training in sides.items()
    }
    ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates["TRL"], strict=True)]
    texts = (f"{side} {median(values):.2f}" for side, values in rates.items())
    return [
        Bar(
            f"GRPO {shape}: samples/s over TRL",
            median(ratios),
            LIMITS[shape],
            f"{', '.join(texts)} samples/s; turns {min(ratios):.2f}-{max(ratios):.2f}",
        ),
        Bar(
            f"GRPO {shape}: peak memory over TRL",
            peaks["ours"] / peaks["TRL"],
            MOST_MEMORY,
            ", ".join(f"{side} {peak / 2**20:,.0f} MiB" for side, peak in peaks.items()),
            at_most=True,
        ),
    ]
