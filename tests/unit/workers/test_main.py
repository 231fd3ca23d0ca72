"""Starting: settings that do not fit are named, with an exit status for scripts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from workers.__main__ import main
from workers.workspace import Workspace


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


def test_every_wrong_setting_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAILRACE_POOLS", "Bad Pool")
    monkeypatch.setenv("TAILRACE_SLOTS", "many")
    assert main() == os.EX_CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["TAILRACE_POOLS", "TAILRACE_SLOTS"]


def test_slots_that_the_host_has_not_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAILRACE_ACCELERATOR", "tpu")
    monkeypatch.setenv("TAILRACE_WORK_DIR", str(tmp_path))
    assert main() == os.EX_CONFIG
    assert "no TPU chip was found" in capfd.readouterr().err


def test_a_name_that_is_taken_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = Workspace(tmp_path, "mine")
    monkeypatch.setenv("TAILRACE_ACCELERATOR", "cpu")
    monkeypatch.setenv("TAILRACE_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("TAILRACE_WORKER_NAME", "mine")
    assert main() == os.EX_CONFIG
    assert "another worker named 'mine'" in capfd.readouterr().err
    taken.close()
