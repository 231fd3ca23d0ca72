"""Rollouts on disk: a file for each step, committed before the step learns from it."""

from __future__ import annotations

import os
from collections.abc import Iterable
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

    def read(self, step: int) -> list[Rollout] | None:
        """Return the committed rollouts of a step; None if there are none.

        Raises:
            CheckpointError: The file is damaged.
        """
        for place in self._places:
            path = place / rollouts_file(step)
            if not path.is_file():
                continue
            try:
                return list(read_rollouts(path))
            except (OSError, FormatError) as error:
                raise CheckpointError(
                    f"{path} cannot be read: {error}; delete it, so that its answers are sampled "
                    "again"
                ) from error
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


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
