"""What a training has done so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Progress:
    """The loop's counters; they are part of a checkpoint."""

    tokens: int = 0
    """Non-padding tokens seen."""
    first_loss: float | None = None
    """Loss of step 1."""
    window: list[float] = field(default_factory=list)
    """Losses since the last metric point."""
    epoch: list[float] = field(default_factory=list)
    """Losses of the last ``steps_per_epoch`` steps."""
    best_loss: float | None = None
    """Lowest evaluation loss; None before the first evaluation."""
    best_step: int | None = None
    """Step with the lowest evaluation loss."""
    stale: int = 0
    """Evaluations since the loss last fell by what counts."""

    def add(self, loss: float, per_epoch: int) -> None:
        """Count the loss of one more step."""
        if self.first_loss is None:
            self.first_loss = loss
        self.window.append(loss)
        self.epoch.append(loss)
        del self.epoch[:-per_epoch]

    def take_window(self) -> float:
        """The mean loss since the last call."""
        mean = math.fsum(self.window) / len(self.window)
        self.window.clear()
        return mean

    @property
    def epoch_loss(self) -> float:
        """Mean loss over the last epoch's worth of steps."""
        return math.fsum(self.epoch) / len(self.epoch)

    def evaluated(self, step: int, loss: float, min_delta: float) -> bool:
        """Count an evaluation; true when its loss is the lowest so far.

        Only a loss that is more than ``min_delta`` nats lower ends a series of stale ones.
        """
        if self.best_loss is None or loss < self.best_loss - min_delta:
            self.stale = 0
        else:
            self.stale += 1
        better = self.best_loss is None or loss < self.best_loss
        if better:
            self.best_loss, self.best_step = loss, step
        return better
