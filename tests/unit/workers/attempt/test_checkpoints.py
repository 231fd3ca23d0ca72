"""Checkpoints: uploaded before they are named, kept from removal, the newest first."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tailrace.errors import ResourceExhausted
from tailrace.formats.stage_protocol import CheckpointEvent
from tailrace.v1 import artifact_pb2, stage_pb2
from workers.attempt.checkpoints import CheckpointUploader
from workers.events.spool import Spool


class Rig:
    """An uploader whose uploads can be held up."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        self.output.mkdir()
        self.spool = Spool(folder / "spool.db", 10**6)
        self.faults: list[str] = []
        self.uploaded: list[bytes] = []
        self.go = threading.Event()
        self.error: Exception | None = None
        self.uploader = CheckpointUploader(
            self.output, folder / "staging", self.spool, self.upload, self.faults.append
        )

    def upload(self, folder: Path) -> Sequence[artifact_pb2.ArtifactFile]:
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        self.uploaded.append((folder / "state").read_bytes())
        return [artifact_pb2.ArtifactFile(path="state", sha256="0" * 64, size_bytes=1)]

    def save(self, step: int) -> CheckpointEvent:
        path = self.output / f"checkpoints/{step}"
        path.mkdir(parents=True)
        (path / "state").write_text(str(step))
        return CheckpointEvent(step, f"checkpoints/{step}")

    def announced(self) -> list[int]:
        events = [stage_pb2.StageEvent.FromString(body) for body in self.spool.batch(1)]
        return [event.checkpoint.step for event in events]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    new_rig = Rig(tmp_path)
    yield new_rig
    new_rig.go.set()
    new_rig.uploader.close()
    new_rig.spool.close()


def never() -> bool:
    return False


def test_it_is_announced_after_its_upload_only(rig: Rig) -> None:
    rig.uploader.offer(rig.save(10))
    time.sleep(0.1)
    assert rig.announced() == []
    rig.go.set()
    assert rig.uploader.drain(never)
    assert rig.announced() == [10]
    assert rig.uploaded == [b"10"]


def test_the_stage_process_may_drop_it_meanwhile(rig: Rig) -> None:
    rig.uploader.offer(rig.save(10))
    shutil.rmtree(rig.output / "checkpoints")
    rig.go.set()
    assert rig.uploader.drain(never)
    assert rig.announced() == [10]


def test_waiting_ones_are_passed_over_for_the_newest(rig: Rig) -> None:
    rig.uploader.offer(rig.save(10))
    time.sleep(0.2)
    for step in (20, 30, 40):
        rig.uploader.offer(rig.save(step))
    rig.go.set()
    assert rig.uploader.drain(never)
    assert rig.announced() == [10, 40]
    assert rig.faults == []


@pytest.mark.parametrize("path", ["checkpoints/missing", "../other", "/etc", ""])
def test_one_that_is_not_there_is_told_and_the_rest_goes_on(rig: Rig, path: str) -> None:
    rig.go.set()
    rig.uploader.offer(CheckpointEvent(5, path))
    assert len(rig.faults) == 1
    assert "checkpoint 5" in rig.faults[0]
    rig.uploader.offer(rig.save(10))
    assert rig.uploader.drain(never)
    assert rig.announced() == [10]


@pytest.mark.parametrize(
    "error", [ResourceExhausted("the blob is too large"), OSError("the blob is too large")]
)
def test_a_failed_upload_is_told_and_the_rest_goes_on(rig: Rig, error: Exception) -> None:
    rig.error = error
    rig.go.set()
    rig.uploader.offer(rig.save(10))
    assert rig.uploader.drain(never)
    assert rig.faults == ["checkpoint 10 could not be uploaded: the blob is too large"]
    rig.error = None
    rig.uploader.offer(rig.save(20))
    assert rig.uploader.drain(never)
    assert rig.announced() == [20]


def test_draining_ends_when_told_so(rig: Rig) -> None:
    rig.uploader.offer(rig.save(10))
    began = time.monotonic()
    assert not rig.uploader.drain(lambda: time.monotonic() - began > 0.3)
    assert time.monotonic() - began < 2
