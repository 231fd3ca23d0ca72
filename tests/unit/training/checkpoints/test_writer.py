from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailrace.formats.certificate import Certificate
from training.checkpoints import writer as module
from training.checkpoints.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from training.checkpoints.writer import CheckpointWriter


def make(step: int) -> Checkpoint:
    return Checkpoint(step, {"[0]['w']": np.full(8, step, np.float32)}, [1], {}, {})


class Told:
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, step: int, path: Path, certificate: Certificate) -> None:
        assert load_checkpoint(path, {}).step == certificate.step == step
        self.steps.append(step)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writes wait until it is set."""
    opened = threading.Event()

    def slow(*arguments: Any) -> Any:
        assert opened.wait(30)
        return save_checkpoint(*arguments)

    monkeypatch.setattr(module, "save_checkpoint", slow)
    return opened


def train(folder: Path, steps: list[int], error: Exception | None = None) -> None:
    with CheckpointWriter(folder, 2, Told()) as writer:
        for step in steps:
            writer.save(partial(make, step))
        if error is not None:
            raise error


def test_all_is_written_when_it_is_left(tmp_path: Path) -> None:
    reports = Told()
    with CheckpointWriter(tmp_path, 2, reports) as writer:
        for step in (1, 2, 3):
            writer.save(partial(make, step))
    assert reports.steps == [1, 2, 3]
    assert reports.threads != {threading.current_thread().name}
    assert [load_checkpoint(path, {}).step for path in list_checkpoints(tmp_path)] == [2, 3]


def test_the_training_goes_on_while_one_is_written(tmp_path: Path, gate: threading.Event) -> None:
    reports = Told()
    with CheckpointWriter(tmp_path, 2, reports) as writer:
        writer.save(lambda: make(1))
        assert reports.steps == []
        assert writer.wait_seconds < 5
        gate.set()
        writer.join()
        assert reports.steps == [1]


def test_at_most_one_is_in_flight(tmp_path: Path, gate: threading.Event) -> None:
    with CheckpointWriter(tmp_path, 2, Told()) as writer:
        writer.save(lambda: make(1))
        seconds: list[bool] = []

        def take() -> Checkpoint:
            seconds.append(bool(list_checkpoints(tmp_path)))
            return make(2)

        threading.Timer(0.2, gate.set).start()
        begin = time.perf_counter()
        writer.save(take)
        assert time.perf_counter() - begin > 0.1
        assert seconds == [True]
        assert writer.wait_seconds > 0.1


def test_a_failed_write_is_raised_at_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(module, "save_checkpoint", fail)
    with pytest.raises(OSError, match="disk full"):
        train(tmp_path, [1, 2])
    with pytest.raises(OSError, match="disk full"):
        train(tmp_path, [1])


def test_the_error_of_the_training_is_the_one_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(module, "save_checkpoint", fail)
    with pytest.raises(ValueError, match="nan"):
        train(tmp_path, [1], ValueError("nan"))
    assert "could not be written: disk full" in caplog.text


def test_what_was_saved_stays_when_the_training_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nan"):
        train(tmp_path, [1], ValueError("nan"))
    assert len(list_checkpoints(tmp_path)) == 1
