from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tailrace.cli.embedded import local_worker
from tailrace.cli.embedded.child import Child
from tailrace.cli.embedded.local_worker import MAX_RESTARTS, LocalWorker
from tailrace.cli.errors import CommandError


def _worker(tmp_path: Path, script: str) -> LocalWorker:
    argv = [sys.executable, "-S", "-c", script]
    return LocalWorker(lambda: Child("worker 1", argv, {}, tmp_path / "log", 1.0), "local-1")


def _news(worker: LocalWorker) -> str:
    deadline = time.monotonic() + 10
    while (news := worker.tend()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return news


def test_one_that_is_killed_is_started_again(tmp_path: Path) -> None:
    worker = _worker(tmp_path, "import time; time.sleep(60)")
    assert worker.tend() is None
    first = worker.child.pid
    os.kill(first, signal.SIGKILL)
    news = _news(worker)
    assert "the worker 1 ended (killed by SIGKILL)" in news
    assert "started again in 1 s" in news
    assert str(tmp_path / "log") in news
    assert worker.tend() is None
    assert _news(worker) == "worker 1 is started again"
    assert worker.child.pid != first
    assert worker.child.end is None
    worker.child.stop(0)


def test_one_that_ends_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_worker, "_FIRST_WAIT", 0.001)
    worker = _worker(tmp_path, "raise SystemExit('no device')")
    for _ in range(MAX_RESTARTS):
        assert "no device" in _news(worker)
        assert "again" in _news(worker)
    with pytest.raises(CommandError, match=f"{MAX_RESTARTS + 1} times in a row"):
        _news(worker)


def test_one_that_stood_a_while_begins_a_new_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_worker, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(local_worker, "STANDING_SECONDS", 0.0)
    worker = _worker(tmp_path, "raise SystemExit(1)")
    for _ in range(MAX_RESTARTS + 2):
        assert "ended" in _news(worker)
        assert "again" in _news(worker)
    worker.child.stop(0)


def test_one_that_is_drained_again_and_again_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_worker, "_FIRST_WAIT", 0.001)
    worker = _worker(tmp_path, "")
    for _ in range(MAX_RESTARTS + 2):
        assert "tailrace workers undrain local-1" in _news(worker)
        assert _news(worker) == "worker 1 is started again"
    worker.child.stop(0)
