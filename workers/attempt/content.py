"""Transfer of an attempt's inputs and outputs from and to the artifact store."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc

from tailrace.errors import TailraceError
from tailrace.formats import faults
from tailrace.formats.faults import Moment
from tailrace.formats.listing import FileEntry, listing_violations
from tailrace.formats.stage_protocol import EvalSetInput, StageInputs
from tailrace.transfer import download_blob, upload_folder
from tailrace.v1 import artifact_pb2, stage_pb2
from workers.attempt.cache import BlobCache
from workers.attempt.leased_channel import LeasedChannel
from workers.attempt.stored_predictions import write_stored_predictions
from workers.backoff import POLICY
from workers.stage_client import is_transient

T = TypeVar("T")

GiveUp = Callable[[], bool]
"""Predicate that is true once the transfer is no longer wanted."""

_POLL_SECONDS = 0.1

_INPUTS = {
    artifact_pb2.ARTIFACT_KIND_DATASET: ("dataset", "dataset.jsonl"),
    artifact_pb2.ARTIFACT_KIND_MODEL: ("model", ""),
    artifact_pb2.ARTIFACT_KIND_SPLIT: ("split", ""),
    artifact_pb2.ARTIFACT_KIND_PREDICTIONS: ("predictions", ""),
    artifact_pb2.ARTIFACT_KIND_CHECKPOINT: ("checkpoint", ""),
    artifact_pb2.ARTIFACT_KIND_ROLLOUTS: ("rollouts", ""),
}
"""Input of the stage job by kind of artifact, with the file that the input names; empty if it names
the folder."""


_NAMED = {
    stage_pb2.INPUT_ROLE_BASE_MODEL: ("base_model", ""),
    stage_pb2.INPUT_ROLE_BASELINE_PREDICTIONS: ("baseline_predictions", ""),
    stage_pb2.INPUT_ROLE_SOURCE_CHECKPOINT: ("source_checkpoint", ""),
    stage_pb2.INPUT_ROLE_SOURCE_DATASET: ("source_dataset", "dataset.jsonl"),
    stage_pb2.INPUT_ROLE_TEACHER: ("teacher", ""),
}
"""Input of the stage job by role of a named artifact, with the file as in :data:`_INPUTS`."""

_EVAL_SET_FILE = "eval_set.jsonl"


class InterruptedTransferError(Exception):
    """The transfer was no longer wanted."""


class Content:
    """Transfers over one channel, with the host's cache."""

    def __init__(self, channel: grpc.Channel, cache: BlobCache) -> None:
        self._channel = channel
        self._cache = cache

    def under(self, lease_token: str) -> Content:
        """Return the transfers of a lease: the control plane refuses a worker without one."""
        return Content(LeasedChannel(self._channel, lease_token), self._cache)

    def inputs(
        self,
        artifacts: Iterable[artifact_pb2.Artifact],
        folder: Path,
        give_up: GiveUp,
        named: Iterable[stage_pb2.NamedInput] = (),
    ) -> StageInputs:
        """Put artifacts below ``folder`` and return their paths.

        Artifacts of ``named`` become inputs by their role, the others by their kind.

        Raises:
            InterruptedTransferError: ``give_up()`` became true.
            TailraceError: The control plane does not have the content.
            ValueError: A listing is invalid, or no input of a stage job fits the artifact.
            OSError: The disk is full.
        """
        paths: dict[str, Any] = {}
        for artifact in artifacts:
            if artifact.kind not in _INPUTS:
                raise ValueError(f"{artifact.name}: no stage reads an artifact of this kind")
            name, file = _INPUTS[artifact.kind]
            self._place(artifact, folder / name, give_up)
            paths[name] = str(folder / name / file) if file else str(folder / name)
        judge_models: dict[str, str] = {}
        eval_sets: list[EvalSetInput] = []
        for entry in named:
            if entry.role == stage_pb2.INPUT_ROLE_JUDGE_MODEL:
                place = folder / "judge_models" / str(len(judge_models))
                judge_models[entry.judge] = str(place)
            elif entry.role == stage_pb2.INPUT_ROLE_EVAL_SET:
                place = folder / "eval_sets" / str(len(eval_sets))
                eval_sets.append(EvalSetInput(entry.eval_set, str(place / _EVAL_SET_FILE)))
            elif entry.role in _NAMED:
                name, file = _NAMED[entry.role]
                place = folder / name
                paths[name] = str(place / file)
            else:
                raise ValueError(f"{entry.artifact.name}: no stage reads an input of this role")
            self._place(entry.artifact, place, give_up)
        self._cache.trim()
        return StageInputs(judge_models=judge_models, eval_sets=eval_sets, **paths)

    def fetch(self, artifact: artifact_pb2.Artifact, folder: Path, give_up: GiveUp) -> None:
        """Put an artifact's files into a folder; errors are those of :meth:`inputs`."""
        self._place(artifact, folder, give_up)
        self._cache.trim()

    def stored_predictions(self, run_uid: str, path: Path, give_up: GiveUp) -> str:
        """Write earlier attempts' predictions to ``path``; errors are those of :meth:`inputs`."""
        _persist(lambda: write_stored_predictions(self._channel, run_uid, path), give_up)
        return str(path)

    def upload(self, folder: Path, give_up: GiveUp) -> Sequence[artifact_pb2.ArtifactFile]:
        """Upload a folder's files and return their listing; errors are those of :meth:`inputs`."""
        faults.before(Moment.UPLOAD)
        files = _persist(lambda: upload_folder(self._channel, folder), give_up)
        faults.after(Moment.UPLOAD)
        return files

    def _place(self, artifact: artifact_pb2.Artifact, folder: Path, give_up: GiveUp) -> None:
        entries = [FileEntry(f.path, f.sha256, f.size_bytes) for f in artifact.files]
        problems = listing_violations(entries, artifact.name)
        if problems:
            raise ValueError("; ".join(f"{v.field}: {v.description}" for v in problems[:10]))

        def download(file: artifact_pb2.ArtifactFile, target: Path) -> None:
            _persist(
                lambda: download_blob(self._channel, file.sha256, file.size_bytes, target), give_up
            )

        for file in artifact.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._cache.place(file, target, download)


def _persist(transfer: Callable[[], T], give_up: GiveUp) -> T:
    """Repeat a transfer while the control plane is absent."""
    for failures in itertools.count(1):
        try:
            return _abandonable(transfer, give_up)
        except TailraceError as error:
            if not is_transient(error) or give_up():
                raise
        deadline = time.monotonic() + POLICY.wait_seconds(failures)
        while time.monotonic() < deadline and not give_up():
            time.sleep(_POLL_SECONDS)
    raise AssertionError("attempts end with a result or an error")


def _abandonable(work: Callable[[], T], give_up: GiveUp) -> T:
    """Run ``work`` in a thread that is abandoned once the work is no longer wanted.

    A transfer ends by its own deadlines, but those are minutes. An attempt that lost its lease and
    a worker that shuts down cannot wait for them.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
            errors.append(error)

    thread = threading.Thread(target=run, name="transfer", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        if thread.is_alive() and give_up():
            raise InterruptedTransferError
    if errors:
        raise errors[0]
    return results[0]
