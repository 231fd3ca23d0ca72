"""Files of the stage process: marked once the control plane has them, and no sooner."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tailrace.formats.stage_protocol import (
    ReferenceEvent,
    ReferenceRequestEvent,
    RolloutsEvent,
    committed_mark,
)
from tailrace.v1 import artifact_pb2, stage_pb2
from workers.attempt.commits import Committer
from workers.events.spool import Spool

KEY = "a" * 64


class Rig:
    """A committer whose uploads are recorded."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        (self.output / "rollouts").mkdir(parents=True)
        self.spool = Spool(folder / "spool.db", 10**6)
        self.faults: list[str] = []
        self.uploaded: list[str] = []
        self.failure: Exception | None = None
        self.published: dict[str, str] = {}
        self.committer = Committer(
            self.output, folder / "staging", self.spool, self.upload, self.fetch, self.faults.append
        )

    def upload(self, folder: Path) -> Sequence[artifact_pb2.ArtifactFile]:
        if self.failure is not None:
            raise self.failure
        (file,) = folder.iterdir()
        self.uploaded.append(file.name)
        return [artifact_pb2.ArtifactFile(path=file.name, sha256="0" * 64, size_bytes=1)]

    def fetch(self, key: str, folder: Path) -> None:
        if key in self.published:
            (folder / "reference").write_text(self.published[key])

    def offer(self, step: int) -> Path:
        path = f"rollouts/step-{step}.gz"
        (self.output / path).write_text(str(step))
        self.committer.offer(RolloutsEvent(step, path))
        return self.output / committed_mark(path)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    new_rig = Rig(tmp_path)
    yield new_rig
    new_rig.committer.close()
    new_rig.spool.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rollouts_are_marked_once_they_are_acknowledged(rig: Rig) -> None:
    mark = rig.offer(4)
    until(lambda: rig.spool.last_sequence == 1)
    time.sleep(0.1)
    assert not mark.exists()
    (body,) = rig.spool.batch(1)
    event = stage_pb2.StageEvent.FromString(body)
    assert (event.rollouts.step, event.rollouts.files[0].path) == (4, "step-4.gz")
    rig.spool.acknowledge(1)
    until(mark.exists)
    assert rig.uploaded == ["step-4.gz"]
    assert rig.faults == []


def test_rollouts_that_cannot_be_stored_end_the_attempt(rig: Rig) -> None:
    rig.failure = OSError("the disk is full")
    mark = rig.offer(1)
    until(lambda: rig.faults)
    assert rig.faults == ["rollouts of step 1 cannot be committed: the disk is full"]
    assert not mark.exists()


def test_a_reference_is_marked_once_it_is_acknowledged(rig: Rig) -> None:
    (rig.output / "reference").write_text("r")
    rig.committer.offer(ReferenceEvent(KEY, "reference"))
    until(lambda: rig.spool.last_sequence == 1)
    (body,) = rig.spool.batch(1)
    assert stage_pb2.StageEvent.FromString(body).reference.key == KEY
    mark = rig.output / committed_mark("reference")
    assert not mark.exists()
    rig.spool.acknowledge(1)
    until(mark.exists)


@pytest.mark.parametrize("exists", [True, False])
def test_a_request_for_a_reference_is_answered_without_an_event(rig: Rig, exists: bool) -> None:
    if exists:
        rig.published[KEY] = "r"
    rig.committer.offer(ReferenceRequestEvent(KEY, "reference"))
    until((rig.output / committed_mark("reference")).exists)
    assert (rig.output / "reference").exists() is exists
    assert rig.spool.last_sequence == 0
