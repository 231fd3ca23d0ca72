"""The bars: losses that agree with those of TRL, and tokens per second against it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.bars import Bar
from benchmarks.child import measure
from benchmarks.racer import Racer
from benchmarks.sft_peers.pace import PacedTraining
from benchmarks.sft_peers.workload import PeerInputs

STEPS_PER_TURN = 4

FIRST_LOSS = 1e-4
"""Largest difference of the first losses, in nats."""

LATER_LOSSES = 0.02
"""Largest relative difference of the later losses."""

PADDED_TURNS = 2
"""Turns of the two sides with equal rows, whose speed varies less."""

PACKED, PADDED, TRL, TRL_ALIKE = "packed", "padded", "TRL", "TRL padded alike"


def race(rounds: int) -> list[Bar]:
    """Let all sides train the same steps in turns, and compare losses and speed.

    The sides are this library with packed and with padded rows, SFTTrainer as it pads, and
    SFTTrainer padded as this library pads.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        measure("sft_peers.workload", name, str(rounds * STEPS_PER_TURN))
        calls = {
            PACKED: ("sft_peers.ours", "packed"),
            PADDED: ("sft_peers.ours", "padded"),
            TRL: ("sft_peers.peer", name),
            TRL_ALIKE: ("sft_peers.peer", name, "alike"),
        }
        sides = {side: PacedTraining(_ready(stack, call)) for side, call in calls.items()}
        for number in range(rounds):
            for side, training in sides.items():
                if number < PADDED_TURNS or side in (PACKED, TRL):
                    training.run(STEPS_PER_TURN)
        inputs = PeerInputs.load(Path(name))
    return [
        *_loss_bars(PACKED, sides[PACKED].losses, sides[TRL].losses),
        *_loss_bars(PADDED, sides[PADDED].losses, sides[TRL].losses),
        _speed_bar(sides, inputs.useful_tokens, (PACKED, TRL), 1.3),
        _speed_bar(sides, inputs.useful_tokens, (PADDED, TRL_ALIKE), 1.0),
    ]


def _ready(stack: ExitStack, call: tuple[str, ...]) -> Racer:
    """Return a side that has compiled and waits, so that no other side is disturbed by it."""
    racer = stack.enter_context(Racer(*call))
    racer.ask("")
    return racer


def _loss_bars(layout: str, ours: list[float], theirs: list[float]) -> list[Bar]:
    first = abs(ours[0] - theirs[0])
    ratios = [abs(a - b) / b for a, b in zip(ours[1:], theirs[1:], strict=False)]
    worst = max(range(len(ratios)), key=lambda index: ratios[index]) + 1
    return [
        Bar(
            f"{layout}: loss of step 1, difference over {FIRST_LOSS:g}",
            first / FIRST_LOSS,
            1,
            f"{ours[0]:.6f}, TRL {theirs[0]:.6f}: {first:.1e}",
            at_most=True,
        ),
        Bar(
            f"{layout}: losses 2-{len(ours)}, difference over {LATER_LOSSES:.0%}",
            max(ratios) / LATER_LOSSES,
            1,
            f"largest in step {worst + 1}: {ours[worst]:.6f}, TRL {theirs[worst]:.6f}, "
            f"{max(ratios):.1e} of it",
            at_most=True,
        ),
    ]


def _speed_bar(
    sides: dict[str, PacedTraining], tokens: list[int], pair: tuple[str, str], limit: float
) -> Bar:
    """Compare useful tokens per second; the ratio is the median over turns of the same steps."""
    rates = [_rates(sides[side], tokens) for side in pair]
    ratios = [ours / theirs for ours, theirs in zip(*rates, strict=True)]
    texts = (f"{median(side):,.0f} (best {max(side):,.0f})" for side in rates)
    detail = f" useful tokens/s, {pair[1]} ".join(texts)
    return Bar(
        f"{pair[0]} rows over {pair[1]}",
        median(ratios),
        limit,
        f"{detail}; turns {min(ratios):.2f}-{max(ratios):.2f}",
    )


def _rates(side: PacedTraining, tokens: list[int]) -> list[float]:
    """Return the useful tokens per second of each turn."""
    rates, first = [], 0
    for turn in side.turns:
        last = first + len(turn.losses)
        rates.append(sum(tokens[first:last]) / turn.seconds)
        first = last
    return rates
