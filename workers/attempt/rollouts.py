"""Commit of rollouts during training; the stage process learns from them only afterwards."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tailrace.formats.listing import path_problem
from tailrace.formats.stage_protocol import RolloutsEvent, committed_mark
from tailrace.v1 import artifact_pb2, stage_pb2
from workers.attempt.content import InterruptedTransferError
from workers.events.spool import Spool, SpoolClosedError

Upload = Callable[[Path], Sequence[artifact_pb2.ArtifactFile]]
"""Function that uploads a folder's files and returns their listing."""

_POLL_SECONDS = 0.2


class RolloutCommitter:
    """A thread that uploads rollouts in order, reports them and marks those that are durable."""

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
            output: The attempt's output folder, which paths of rollouts are relative to.
            staging: A folder on the same file system, which must not exist yet.
            spool: Queue for the events of uploaded rollouts.
            upload: See :data:`Upload`; raises as :meth:`workers.attempt.content.Content.upload`.
            on_fault: Callback with the reason why rollouts cannot be committed; the attempt cannot
                go on, because the stage process waits for them.
        """
        self._output = output
        self._staging = staging
        self._spool = spool
        self._upload = upload
        self._on_fault = on_fault
        self._waiting: queue.SimpleQueue[RolloutsEvent | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)
        self._thread.start()

    def offer(self, event: RolloutsEvent) -> None:
        """Accept a complete file without waiting for its upload."""
        self._waiting.put(event)

    def close(self) -> None:
        """Commit nothing further."""
        self._closed.set()
        self._waiting.put(None)

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None and not self._closed.is_set():
            try:
                self._commit(event)
            except (InterruptedTransferError, SpoolClosedError):
                return  # the attempt is over and may not report any more
            except Exception as error:  # noqa: BLE001  # reported as the fault of the attempt
                self._on_fault(f"rollouts of step {event.step} cannot be committed: {error}")
                return

    def _commit(self, event: RolloutsEvent) -> None:
        problem = path_problem(event.path)
        if problem is not None:
            raise ValueError(f"their path {event.path!r} {problem}")
        file = self._output / event.path
        # An upload takes a folder: this one has a single file, under the name that is read later.
        folder = self._staging / str(event.step)
        folder.mkdir(mode=0o700, parents=True)
        shutil.copyfile(file, folder / file.name)
        saved = stage_pb2.RolloutsSaved(step=event.step, files=self._upload(folder))
        sequence = self._spool.append(stage_pb2.StageEvent(rollouts=saved))
        while not self._spool.wait(lambda: self._is_over(sequence), _POLL_SECONDS):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        if self._spool.acknowledged >= sequence:
            (self._output / committed_mark(event.path)).touch()

    def _is_over(self, sequence: int) -> bool:
        return self._spool.acknowledged >= sequence or self._closed.is_set()
