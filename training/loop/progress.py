"""The counters of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from training.objectives.objective import means_of_parts


@dataclass
class Progress:
    """Counters of a training; they are part of a checkpoint."""

    tokens: int = 0
    """Non-padding tokens seen."""
    first_loss: float | None = None
    """Loss of step 1."""
    window: list[float] = field(default_factory=list)
    """Losses since the last metric point."""
    metrics_window: dict[str, list[float]] = field(default_factory=dict)
    """Values of the objective's metrics since the last metric point, by name."""
    epoch: list[float] = field(default_factory=list)
    """Losses of the last ``steps_per_epoch`` steps."""
    best_loss: float | None = None
    """Lowest evaluation loss; None before the first evaluation."""
    best_step: int | None = None
    """Step with the lowest evaluation loss."""
    stale: int = 0
    """Number of evaluations since the loss last fell by more than ``min_delta``."""

    def add(self, loss: float, per_epoch: int, metrics: Mapping[str, float]) -> None:
        """Count one more step with its loss and metrics."""
        if self.first_loss is None:
            self.first_loss = loss
        self.window.append(loss)
        self.epoch.append(loss)
        del self.epoch[:-per_epoch]
        for name, value in metrics.items():
            self.metrics_window.setdefault(name, []).append(value)

    def take_window(self) -> tuple[float, dict[str, float]]:
        """Return the means of loss and metrics since the last call."""
        loss = _mean(self.window)
        metrics = {name: _mean(values) for name, values in self.metrics_window.items()}
        self.window.clear()
        self.metrics_window.clear()
        return loss, means_of_parts(metrics)

    @property
    def epoch_loss(self) -> float:
        """Mean loss over the steps of the last epoch."""
        return _mean(self.epoch)

    def add_evaluation(self, step: int, loss: float, min_delta: float) -> bool:
        """Count an evaluation; return whether its loss is the lowest so far.

        A loss must be lower by more than ``min_delta`` to end a series of stale evaluations.
        """
        if self.best_loss is None or loss < self.best_loss - min_delta:
            self.stale = 0
        else:
            self.stale += 1
        better = self.best_loss is None or loss < self.best_loss
        if better:
            self.best_loss, self.best_step = loss, step
        return better


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
