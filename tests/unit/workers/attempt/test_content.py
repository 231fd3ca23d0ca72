"""Inputs and outputs on their way: safe paths, patience, and an end when no longer wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.channel import connect
from tailrace.errors import NotFound
from tailrace.v1 import artifact_pb2, stage_pb2
from tests.unit.workers.twin import FakeControlPlane
from workers.attempt.cache import BlobCache
from workers.attempt.content import Content, InterruptedTransferError

DATASET = artifact_pb2.ARTIFACT_KIND_DATASET


def never() -> bool:
    return False


@pytest.fixture
def content(fake: FakeControlPlane, tmp_path: Path) -> Iterator[Content]:
    with connect(fake.address) as channel:
        yield Content(channel, BlobCache(tmp_path / "cache", 10**9))


def test_every_kind_of_input_gets_its_place(
    fake: FakeControlPlane, content: Content, tmp_path: Path
) -> None:
    artifacts = [
        fake.artifact(DATASET, dataset__jsonl=b"traces", manifest__json=b"{}"),
        fake.artifact(artifact_pb2.ARTIFACT_KIND_MODEL, config__json=b"{}"),
        fake.artifact(artifact_pb2.ARTIFACT_KIND_SPLIT, split__json=b"[]"),
        fake.artifact(artifact_pb2.ARTIFACT_KIND_PREDICTIONS, predictions__jsonl=b""),
        fake.artifact(artifact_pb2.ARTIFACT_KIND_CHECKPOINT, state__json=b"5"),
    ]
    inputs = content.inputs(artifacts, tmp_path / "in", never)
    assert inputs.dataset is not None
    assert Path(inputs.dataset).read_bytes() == b"traces"
    for folder, name in (
        (inputs.model, "config.json"),
        (inputs.split, "split.json"),
        (inputs.predictions, "predictions.jsonl"),
        (inputs.checkpoint, "state.json"),
    ):
        assert folder is not None
        assert (Path(folder) / name).is_file()


def test_inputs_are_placed_by_what_they_are_for(
    fake: FakeControlPlane, content: Content, tmp_path: Path
) -> None:
    model, predictions = (
        fake.artifact(artifact_pb2.ARTIFACT_KIND_MODEL, config__json=b"{}"),
        fake.artifact(artifact_pb2.ARTIFACT_KIND_PREDICTIONS, predictions__jsonl=b"theirs"),
    )
    ours = fake.artifact(artifact_pb2.ARTIFACT_KIND_PREDICTIONS, predictions__jsonl=b"ours")
    named = [
        stage_pb2.NamedInput(role="INPUT_ROLE_BASE_MODEL", artifact=model),
        stage_pb2.NamedInput(role="INPUT_ROLE_JUDGE_MODEL", judge="llm_rubric", artifact=model),
        stage_pb2.NamedInput(role="INPUT_ROLE_JUDGE_MODEL", judge="pairwise", artifact=model),
        stage_pb2.NamedInput(
            role="INPUT_ROLE_BASELINE_PREDICTIONS", judge="pairwise", artifact=predictions
        ),
        *(
            stage_pb2.NamedInput(
                role="INPUT_ROLE_EVAL_SET",
                eval_set=name,
                artifact=fake.artifact(DATASET, eval_set__jsonl=name.encode()),
            )
            for name in ("mine@1", "mine@2")
        ),
    ]
    inputs = content.inputs([ours], tmp_path / "in", never, named)
    assert inputs.model is None
    assert inputs.base_model is not None
    assert set(inputs.judge_models) == {"llm_rubric", "pairwise"}
    folders = [inputs.base_model, *inputs.judge_models.values()]
    assert len({Path(folder) for folder in folders}) == 3
    assert all((Path(folder) / "config.json").is_file() for folder in folders)
    places = [(eval_set.name, eval_set.file) for eval_set in inputs.eval_sets]
    read = {name: Path(file).read_bytes() for name, file in places}
    assert read == {"mine@1": b"mine@1", "mine@2": b"mine@2"}
    assert inputs.dataset is None
    assert inputs.predictions is not None
    assert inputs.baseline_predictions is not None
    pairs = ((inputs.predictions, b"ours"), (inputs.baseline_predictions, b"theirs"))
    assert all((Path(where) / "predictions.jsonl").read_bytes() == body for where, body in pairs)
    unknown = stage_pb2.NamedInput(artifact=model)
    with pytest.raises(ValueError, match="no stage reads an input of this role"):
        content.inputs([], tmp_path / "other", never, [unknown])


@pytest.mark.parametrize("path", ["../escape", "/etc/x", "a/../../b", ""])
def test_a_path_from_outside_stays_inside(
    fake: FakeControlPlane, content: Content, tmp_path: Path, path: str
) -> None:
    artifact = fake.artifact(DATASET, dataset__jsonl=b"x")
    artifact.files[0].path = path
    with pytest.raises(ValueError, match=artifact.name):
        content.inputs([artifact], tmp_path / "in", never)


def test_what_cannot_be_had_is_an_error(
    fake: FakeControlPlane, content: Content, tmp_path: Path
) -> None:
    artifact = fake.artifact(DATASET, dataset__jsonl=b"x")
    fake.blobs.clear()
    with pytest.raises(NotFound):
        content.inputs([artifact], tmp_path / "in", never)
    metrics = fake.artifact(artifact_pb2.ARTIFACT_KIND_METRICS, metrics__jsonl=b"x")
    with pytest.raises(ValueError, match="no stage reads"):
        content.inputs([metrics], tmp_path / "in", never)


def test_damaged_content_is_refused(
    fake: FakeControlPlane, content: Content, tmp_path: Path
) -> None:
    artifact = fake.artifact(DATASET, dataset__jsonl=b"right")
    fake.blobs[artifact.files[0].sha256] = b"wrong"
    with pytest.raises(Exception, match=artifact.files[0].sha256[:12]):
        content.inputs([artifact], tmp_path / "in", never)


def test_folders_are_uploaded_with_their_listing(
    fake: FakeControlPlane, content: Content, tmp_path: Path
) -> None:
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/b").write_bytes(b"b")
    (tmp_path / "out/sub/a").write_bytes(b"a")
    files = content.upload(tmp_path / "out", never)
    assert [(file.path, file.size_bytes) for file in files] == [("b", 1), ("sub/a", 1)]
    assert all(fake.blobs[file.sha256] for file in files)


def test_a_transfer_is_left_when_it_is_no_longer_wanted(
    fake: FakeControlPlane, content: Content, tmp_path: Path
) -> None:
    artifact = fake.artifact(DATASET, dataset__jsonl=b"x")
    fake.stop()
    began = time.monotonic()
    with pytest.raises(InterruptedTransferError):
        content.inputs([artifact], tmp_path / "in", lambda: time.monotonic() - began > 0.5)
    assert time.monotonic() - began < 3


def test_an_absence_is_outwaited(
    fake: FakeControlPlane,
    content: Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that is longer than the patience of a single transfer."""
    from tailrace.retry import RetryPolicy

    tried: list[Any] = []
    patient = RetryPolicy.stream

    def impatient(self: RetryPolicy, _seconds: float | None = None) -> Any:
        tried.append(self)
        return patient(RetryPolicy(reconnect_timeout=0.2))

    monkeypatch.setattr(RetryPolicy, "stream", impatient)
    artifact = fake.artifact(DATASET, dataset__jsonl=b"x")
    fake.stop()
    threading.Timer(2.0, fake.start).start()
    content.inputs([artifact], tmp_path / "in", never)
    assert (tmp_path / "in/dataset/dataset.jsonl").read_bytes() == b"x"
    assert len(tried) > 1
