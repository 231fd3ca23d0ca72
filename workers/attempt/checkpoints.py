"""Upload of checkpoints during training; an event names a checkpoint only after its upload."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from tailrace.formats.listing import path_problem
from tailrace.formats.stage_protocol import CheckpointEvent
from tailrace.v1 import artifact_pb2, stage_pb2
from workers.attempt.content import InterruptedTransferError
from workers.events.spool import Spool, SpoolClosedError

_log = structlog.get_logger(__name__)

Upload = Callable[[Path], Sequence[artifact_pb2.ArtifactFile]]
"""Function that uploads a folder's files and returns their listing."""


class CheckpointUploader:
    """A thread that uploads the newest waiting checkpoint; older waiting ones are skipped.

    An offered checkpoint is hard-linked to a staging folder, because the stage process may delete
    it before its upload begins.
    """

    def __init__(
        self,
        output: Path,
        staging: Path,
        spool: Spool,
        upload: Upload,
        on_fault: Callable[[str], None],
    ) -> None:
        """Start the thread.

        Args:
            output: The attempt's output folder, which checkpoint paths are relative to.
            staging: A folder on the same file system, which must not exist yet.
            spool: Queue for the events of uploaded checkpoints.
            upload: See :data:`Upload`; raises as :meth:`workers.attempt.content.Content.upload`.
            on_fault: Callback with the reason why a checkpoint could not be linked or uploaded; the
                attempt continues without it.
        """
        self._output = output
        self._staging = staging
        self._spool = spool
        self._upload = upload
        self._on_fault = on_fault
        self._changed = threading.Condition()
        self._waiting: tuple[int, Path] | None = None
        self._busy = False
        self._closed = False
        staging.mkdir(mode=0o700)
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def offer(self, event: CheckpointEvent) -> None:
        """Accept a complete checkpoint without waiting for its upload."""
        aside = self._staging / str(event.step)
        problem = path_problem(event.path)
        try:
            if problem is None:
                _hard_link_tree(self._output / event.path, aside)
        except OSError as error:
            problem = str(error)
        if problem is not None:
            self._on_fault(f"checkpoint {event.step} at {event.path!r} cannot be staged: {problem}")
            return
        with self._changed:
            skipped, self._waiting = self._waiting, (event.step, aside)
            self._changed.notify_all()
        if skipped is not None:
            _log.info("skipped a checkpoint for a newer one", step=skipped[0])
            shutil.rmtree(skipped[1], ignore_errors=True)

    def drain(self, give_up: Callable[[], bool]) -> bool:
        """Wait until all checkpoints are uploaded; return False if ``give_up()`` came first."""
        with self._changed:
            while self._busy or self._waiting is not None:
                if give_up():
                    return False
                self._changed.wait(0.2)
        return True

    def close(self) -> None:
        """Start no further upload. One in progress ends by its own deadline, unreported."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed or self._waiting is None:
                    return
                (step, folder), self._waiting = self._waiting, None
                self._busy = True
            try:
                self._send(step, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _send(self, step: int, folder: Path) -> None:
        try:
            checkpoint = stage_pb2.CheckpointSaved(step=step, files=self._upload(folder))
            self._spool.append(stage_pb2.StageEvent(checkpoint=checkpoint))
        except (InterruptedTransferError, SpoolClosedError):
            return  # the attempt is over and may not report any more
        except Exception as error:  # noqa: BLE001  # the attempt continues without it
            self._on_fault(f"checkpoint {step} could not be uploaded: {error}")


def _hard_link_tree(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)
