"""Files that the stage process waits for: its own that are committed, and those of other runs."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tailrace.formats.listing import path_problem
from tailrace.formats.stage_protocol import (
    ExchangeEvent,
    ReferenceEvent,
    ReferenceRequestEvent,
    RolloutsEvent,
    committed_mark,
)
from tailrace.v1 import artifact_pb2, stage_pb2
from workers.attempt.content import InterruptedTransferError
from workers.events.spool import Spool, SpoolClosedError
from workers.stage_client import LeaseLostError

Upload = Callable[[Path], Sequence[artifact_pb2.ArtifactFile]]
"""Function that uploads a folder's files and returns their listing."""

FetchReference = Callable[[str, Path], None]
"""Function that writes the log-probabilities with a key to a folder, if there are any."""

_POLL_SECONDS = 0.2


class Committer:
    """A thread that answers the stage process's events about files in order, each with a mark.

    Rollouts and references are uploaded and reported, and marked once they are durable. Requested
    references are marked once they are at their path, or known to be missing.
    """

    def __init__(
        self,
        output: Path,
        staging: Path,
        spool: Spool,
        upload: Upload,
        fetch_reference: FetchReference,
        on_fault: Callable[[str], None],
    ) -> None:
        """Start the thread.

        Args:
            output: The attempt's output folder, which paths of events are relative to.
            staging: A folder on the same file system, which must not exist yet.
            spool: Queue for the events of uploaded files.
            upload: See :data:`Upload`; raises as :meth:`workers.attempt.content.Content.upload`.
            fetch_reference: See :data:`FetchReference`; raises as ``upload``.
            on_fault: Callback with the reason why a file cannot be committed; the attempt cannot go
                on, because the stage process waits for it.
        """
        self._output = output
        self._staging = staging
        self._spool = spool
        self._upload = upload
        self._fetch_reference = fetch_reference
        self._on_fault = on_fault
        self._waiting: queue.SimpleQueue[ExchangeEvent | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)
        self._thread.start()

    def offer(self, event: ExchangeEvent) -> None:
        """Accept an event without waiting for its answer."""
        self._waiting.put(event)

    def close(self) -> None:
        """Commit nothing further."""
        self._closed.set()
        self._waiting.put(None)

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None and not self._closed.is_set():
            try:
                self._answer(event)
            except (InterruptedTransferError, LeaseLostError, SpoolClosedError):
                return  # the attempt is over and may not report any more
            except Exception as error:  # noqa: BLE001  # reported as the fault of the attempt
                self._on_fault(f"{_name(event)} cannot be committed: {error}")
                return

    def _answer(self, event: ExchangeEvent) -> None:
        problem = path_problem(event.path)
        if problem is not None:
            raise ValueError(f"the path {event.path!r} {problem}")
        file = self._output / event.path
        # Files are exchanged in a folder: this one has a single file, under its own name.
        folder = self._staging / file.name
        folder.mkdir(mode=0o700, parents=True)
        try:
            if isinstance(event, ReferenceRequestEvent):
                self._fetch_reference(event.reference_key, folder)
                if (folder / file.name).is_file():
                    shutil.copyfile(folder / file.name, file)
            elif not self._commit(event, file, folder):
                return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        (self._output / committed_mark(event.path)).touch()

    def _commit(self, event: RolloutsEvent | ReferenceEvent, file: Path, folder: Path) -> bool:
        """Upload and report a file; return True once it is durable, False if the attempt ends."""
        shutil.copyfile(file, folder / file.name)
        files = self._upload(folder)
        if isinstance(event, ReferenceEvent):
            reference = stage_pb2.ReferenceSaved(key=event.reference_key, files=files)
            saved = stage_pb2.StageEvent(reference=reference)
        else:
            rollouts = stage_pb2.RolloutsSaved(step=event.step, files=files)
            saved = stage_pb2.StageEvent(rollouts=rollouts)
        sequence = self._spool.append(saved)
        while not self._spool.wait(lambda: self._is_over(sequence), _POLL_SECONDS):
            pass
        return self._spool.acknowledged >= sequence

    def _is_over(self, sequence: int) -> bool:
        return self._spool.acknowledged >= sequence or self._closed.is_set()


def _name(event: ExchangeEvent) -> str:
    if isinstance(event, RolloutsEvent):
        return f"rollouts of step {event.step}"
    return "log-probabilities under the starting model"
