"""Writing of checkpoints in a thread, so that the training waits for a copy in memory only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tailrace.formats import faults
from tailrace.formats.certificate import Certificate
from tailrace.formats.faults import Moment
from training.checkpoints.checkpoint import Checkpoint, save_checkpoint

_log = logging.getLogger(__name__)

_FAILED = "the last checkpoint could not be written: %s"

Saved = Callable[[int, Path, Certificate], None]
"""Callback in the writer's thread, with the step, the checkpoint's folder and its certificate."""


class CheckpointWriter:
    """Thread that writes one checkpoint at a time.

    A context manager: its exit waits for the checkpoint in flight. A failed write raises at the
    next :meth:`save` or :meth:`join`; if the training itself fails, it is only logged, so that the
    training's error prevails.
    """

    def __init__(self, folder: Path, keep: int, saved: Saved, newest: int | None = None) -> None:
        """Start the thread.

        Args:
            folder: Folder for checkpoints.
            keep: Number of checkpoints to keep, as in :func:`.save_checkpoint`.
            saved: Callback for each checkpoint.
            newest: Step of the checkpoint that the training continues from.
        """
        self._folder = folder
        self._keep = keep
        self._saved = saved
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._flight: Future[None] | None = None
        self._newest = newest
        self.wait_seconds = 0.0
        """Seconds for which the training has waited for checkpoints."""

    def save(self, take: Callable[[], Checkpoint], best: int | None = None) -> None:
        """Write the checkpoint that ``take`` copies to the host, after the previous one.

        ``best`` is a step whose checkpoint is kept in addition to the newest.

        Raises:
            OSError: The previous checkpoint could not be written; errors of its callback are
                raised, too.
        """
        begin = time.perf_counter()
        try:
            self._land()
            self._flight = self._pool.submit(self._write, take(), best)
        finally:
            self.wait_seconds += time.perf_counter() - begin

    def join(self) -> None:
        """Wait until the checkpoint in flight is on disk; errors as :meth:`save`."""
        begin = time.perf_counter()
        try:
            self._land()
        finally:
            self.wait_seconds += time.perf_counter() - begin

    def newest(self) -> int | None:
        """Wait for the checkpoint in flight, and return the step of the newest one on disk.

        A failed write is logged.
        """
        try:
            self._land()
        except OSError as failure:
            _log.error(_FAILED, failure)
        return self._newest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.join()
        except Exception as failure:
            if error is None:
                raise
            _log.error(_FAILED, failure)
        finally:
            self._pool.shutdown()

    def _land(self) -> None:
        flight, self._flight = self._flight, None
        if flight is not None:
            flight.result()

    def _write(self, checkpoint: Checkpoint, best: int | None) -> None:
        faults.before(Moment.CHECKPOINT)
        path, certificate = save_checkpoint(self._folder, checkpoint, self._keep, best)
        self._newest = checkpoint.step
        faults.after(Moment.CHECKPOINT)
        self._saved(checkpoint.step, path, certificate)
