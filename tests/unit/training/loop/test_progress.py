from __future__ import annotations

import pytest

from training.loop.progress import Progress


def test_means_over_the_window_and_the_last_epoch() -> None:
    progress = Progress()
    for loss in (4.0, 3.0, 2.0):
        progress.add(loss, 2, {"margin": loss / 2})
    assert progress.first_loss == 4.0
    assert progress.epoch_loss == 2.5
    assert progress.take_window() == (3.0, {"margin": 1.5})
    progress.add(1.0, 2, {})
    assert progress.take_window() == (1.0, {})


@pytest.mark.parametrize(
    ("min_delta", "stale"),
    [(0.0, [0, 0, 1, 0, 1]), (0.15, [0, 0, 1, 2, 3]), (9.0, [0, 1, 2, 3, 4])],
)
def test_evaluations(min_delta: float, stale: list[int]) -> None:
    progress = Progress()
    losses = [3.0, 2.0, 2.5, 1.9, 1.9]
    better = []
    counted = []
    for step, loss in enumerate(losses, start=1):
        better.append(progress.add_evaluation(step, loss, min_delta))
        counted.append(progress.stale)
    # The lowest is the lowest, even where it is not low enough to count.
    assert better == [True, True, False, True, False]
    assert (progress.best_step, progress.best_loss) == (4, 1.9)
    assert counted == stale
