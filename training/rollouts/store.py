"""Rollouts on disk: a file for each step, committed before the step learns from it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tailrace.formats import faults
from tailrace.formats.data.jsonl import FormatError
from tailrace.formats.data.rollout import Rollout, read_rollouts, rollouts_file, write_rollouts
from tailrace.formats.faults import Moment
from training.errors import CheckpointError
from training.observer import Observer


class RolloutStore:
    """Rollouts of a training's steps."""

    def __init__(self, folder: Path, observer: Observer, committed: Path | None = None) -> None:
        """Open a folder.

        Args:
            folder: Folder for new files; it may have those of an interrupted training.
            observer: Receiver of each new file, which returns once it is durable.
            committed: Folder with the files of earlier attempts.
        """
        self._folder = folder
        self._observer = observer
        self._places = [folder] if committed is None else [committed, folder]

    def read(self, step: int, answers: Mapping[int, int] | None = None) -> list[Rollout] | None:
        """Return the committed rollouts of a step; None if there are none.

        Args:
            step: The step.
            answers: Number of answers to each prompt, by its index (default: any).

        Raises:
            CheckpointError: The file is damaged, or holds answers to other prompts.
        """
        for place in self._places:
            path = place / rollouts_file(step)
            if not path.is_file():
                continue
            try:
                rollouts = list(read_rollouts(path))
            except (OSError, FormatError) as error:
                raise _unusable(path, f"cannot be read: {error}") from error
            prompts = Counter(rollout.prompt_index for rollout in rollouts)
            steps = {rollout.step for rollout in rollouts}
            if steps != {step} or (answers is not None and prompts != answers):
                raise _unusable(path, f"does not hold the answers of step {step} of this training")
            return rollouts
        return None

    def commit(self, step: int, rollouts: Iterable[Rollout]) -> None:
        """Write the rollouts of a step, and return once they are durable.

        Raises:
            OSError: The file cannot be written.
            StoppedError: The observer requests a stop.
        """
        faults.before(Moment.ROLLOUTS)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / rollouts_file(step)
        draft = path.with_name(f".{path.name}")
        write_rollouts(draft, rollouts)
        _flush(draft)
        draft.rename(path)
        _flush(self._folder)
        self._observer.rollouts(step, path)
        faults.after(Moment.ROLLOUTS)


def _unusable(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path} {problem}; delete it, so that its answers are sampled again")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
