"""Trainings that take turns: each stops at a step until its next steps are asked for."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field

from benchmarks.racer import Racer


@dataclass(frozen=True)
class Turn:
    """Some consecutive steps of one side."""

    seconds: float
    losses: list[float]
    """Loss of each step, before its update."""


class Pace:
    """The side of the training: it blocks at a boundary until the next steps are asked for."""

    def __init__(self) -> None:
        self._left = 0
        self._losses: list[float] = []
        self._begin = 0.0

    def start(self) -> None:
        """Report that the first step is ready, and wait until steps are asked for."""
        self._reply({})
        self._wait()

    def step(self, loss: float) -> None:
        """Count a step; after the last one of a turn, report the turn and wait for the next."""
        self._losses.append(loss)
        self._left -= 1
        if self._left == 0:
            self._reply({"seconds": time.perf_counter() - self._begin, "losses": self._losses})
            self._wait()

    def _reply(self, content: dict[str, object]) -> None:
        sys.__stdout__.write(json.dumps(content) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(0)
        self._left, self._losses = int(line), []
        self._begin = time.perf_counter()


@dataclass
class PacedTraining:
    """The side of the race: a training in a child process, with the turns that it has taken."""

    racer: Racer
    turns: list[Turn] = field(default_factory=list)

    def run(self, steps: int) -> None:
        """Let the training take its next steps; the others wait meanwhile."""
        self.turns.append(Turn(**json.loads(self.racer.ask(f"{steps}\n"))))

    @property
    def losses(self) -> list[float]:
        """Losses of all steps so far."""
        return [loss for turn in self.turns for loss in turn.losses]
