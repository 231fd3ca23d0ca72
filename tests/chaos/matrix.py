"""Which fault hits what at which moment: a pairwise cover of all that can happen."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from tailrace.formats.faults import Moment


class Target(enum.StrEnum):
    """What is hit."""

    STAGE = "stage"
    """The process that trains, generates or judges."""
    CHILD = "child"
    """The worker's pool process, which supervises the stage process."""
    WORKER = "worker"
    """The worker's parent process."""
    CONTROL = "control-plane"
    RABBITMQ = "rabbitmq"
    POSTGRES = "postgresql"
    VALKEY = "valkey"


class Fault(enum.StrEnum):
    """What hits it."""

    KILL = "sigkill"
    TERM = "sigterm"
    STOP = "sigstop"
    """It stands still for longer than the lease."""
    RESTART = "restart"
    """Its supervisor ends it in order and starts it again."""
    CUT = "cut"
    """Every connection to it is reset."""
    DISK = "disk-full"
    """Its disk has no byte left for longer than the lease."""


_FAULTS = {
    Target.STAGE: {Fault.KILL, Fault.TERM, Fault.STOP, Fault.DISK},
    Target.CHILD: {Fault.KILL, Fault.TERM, Fault.STOP, Fault.DISK},
    Target.WORKER: set(Fault),
    Target.CONTROL: set(Fault),
    Target.RABBITMQ: set(Fault) - {Fault.DISK},
    Target.POSTGRES: set(Fault) - {Fault.DISK},
    Target.VALKEY: set(Fault) - {Fault.DISK},
}
"""What can happen to each: a supervised child is not restarted, nor has it connections of its own
that a proxy could stand before; servers of others keep their own disks."""

_MOMENTS = {
    # While a stage process lives.
    Target.STAGE: {Moment.HEARTBEAT, Moment.CHECKPOINT, Moment.EVENTS, Moment.UPLOAD},
    # While a pool process has a stage in hand.
    Target.CHILD: {
        Moment.ACQUIRE,
        Moment.SPAWN,
        Moment.HEARTBEAT,
        Moment.CHECKPOINT,
        Moment.EVENTS,
        Moment.UPLOAD,
        Moment.COMPLETE,
        Moment.CHAIN,
    },
}
"""When a target is there; the others always are."""


class Side(enum.StrEnum):
    """Where a process stands still while it happens."""

    BEFORE = "before"
    AFTER = "after"


class Kind(enum.StrEnum):
    """The two stacks."""

    EMBEDDED = "embedded"
    """SQLite and Valkey."""
    PRODUCTION = "production"
    """PostgreSQL and RabbitMQ."""


_KINDS = {
    Target.RABBITMQ: {Kind.PRODUCTION},
    Target.POSTGRES: {Kind.PRODUCTION},
    Target.VALKEY: {Kind.EMBEDDED},
}


@dataclass(frozen=True)
class Cell:
    """One experiment."""

    target: Target
    fault: Fault
    moment: Moment
    side: Side
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind}: {self.fault} of {self.target} {self.side} {self.moment}"


def possible(target: Target, fault: Fault, moment: Moment, side: Side, kind: Kind) -> bool:
    """Whether the target is there at the moment, and the fault can happen to it.

    Runs of :func:`cover` sample no answers; :func:`rollout_cells` are for those that do.
    """
    del side
    return (
        moment is not Moment.ROLLOUTS
        and fault in _FAULTS[target]
        and moment in _MOMENTS.get(target, Moment)
        and kind in _KINDS.get(target, Kind)
    )


def faults_of(kind: Kind) -> list[tuple[Target, Fault]]:
    """Everything that can happen to a stack at some moment."""
    return [
        (target, fault)
        for target in Target
        for fault in sorted(_FAULTS[target])
        if kind in _KINDS.get(target, Kind)
    ]


def cover() -> list[Cell]:
    """Cells in which every possible pair of two factors occurs; the same ones each time.

    Greedy: the next cell is the one with the most pairs that no cell has yet. The generators on
    PyPI cannot tell a pair that is impossible from one that their search did not reach.
    """
    factors = (Target, Fault, Moment, Side, Kind)
    possibilities = [cell for cell in product(*factors) if possible(*cell)]
    # Ties go to the first; of the orders that were tried this one gives the fewest cells.
    random.Random(11).shuffle(possibilities)
    everything = {cell: set(pairs(cell)) for cell in possibilities}
    open_pairs = set().union(*everything.values())
    chosen = []
    while open_pairs:
        best = max(everything, key=lambda cell: len(everything[cell] & open_pairs))
        open_pairs -= everything[best]
        chosen.append(Cell(*best))
    return [*chosen, *(cell for cell in full_disks() if cell not in chosen)]


def full_disks() -> list[Cell]:
    """A disk that is full while a checkpoint is written, by whom it is filled for: a cover of pairs
    need not have all three at once.
    """
    return [
        Cell(target, Fault.DISK, Moment.CHECKPOINT, Side.BEFORE, kind)
        for target in (Target.STAGE, Target.WORKER)
        for kind in Kind
    ]


def rollout_cells() -> list[Cell]:
    """A training on sampled answers that is killed between the answers and their update."""
    return [
        Cell(target, Fault.KILL, Moment.ROLLOUTS, side, kind)
        for target in (Target.STAGE, Target.CHILD, Target.WORKER, Target.CONTROL)
        for side in Side
        for kind in Kind
    ]


def pairs(cell: Sequence[enum.StrEnum]) -> Iterator[tuple[enum.StrEnum, enum.StrEnum]]:
    """Every two values of a cell."""
    return combinations(cell, 2)
