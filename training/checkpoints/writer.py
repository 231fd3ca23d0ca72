"""Writing checkpoints beside the training, so that it waits for a copy in memory only."""

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
"""Told in the writer's thread: the step, the checkpoint's folder and its certificate."""


class CheckpointWriter:
    """One thread that writes at most one checkpoint at a time.

    A context manager: leaving it waits for the checkpoint in flight. A failed write raises at the
    next :meth:`save` or :meth:`join`; when the training itself fails it is logged, so that the
    training's own error is the one that is told.
    """

    def __init__(self, folder: Path, keep: int, saved: Saved, newest: int | None = None) -> None:
        """Write to ``folder`` and ``keep`` so many, as ``save_checkpoint`` does.

        ``newest`` is the step of the checkpoint that the training continues from.
        """
        self._folder = folder
        self._keep = keep
        self._saved = saved
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._flight: Future[None] | None = None
        self._newest = newest
        self.stalled = 0.0
        """Seconds for which the training has waited for checkpoints."""

    def save(self, take: Callable[[], Checkpoint], best: int | None = None) -> None:
        """Write what ``take`` copies to the host, once the checkpoint before it is written.

        ``best`` is a step whose checkpoint is kept beside the newest. Raises :class:`OSError` and
        what the observer of the checkpoint before raised.
        """
        begun = time.perf_counter()
        try:
            self._land()
            self._flight = self._pool.submit(self._write, take(), best)
        finally:
            self.stalled += time.perf_counter() - begun

    def join(self) -> None:
        """Wait until what was saved is on disk; raises as :meth:`save`."""
        begun = time.perf_counter()
        try:
            self._land()
        finally:
            self.stalled += time.perf_counter() - begun

    def newest(self) -> int | None:
        """The step of the newest checkpoint on disk, once what is in flight has landed.

        A write that failed is logged.
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
