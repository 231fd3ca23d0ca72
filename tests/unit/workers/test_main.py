"""Starting: settings that do not fit are named, with an exit status for scripts."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tailrace.channel import connect
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.v1 import stage_pb2, worker_pb2
from tailrace.worker_token import VARIABLE, make
from tests.servers.control_plane import ServedControlPlane
from tests.servers.worker_token import WorkerStub
from workers.__main__ import main
from workers.attempt.workspace import Workspace


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
    workspace = Workspace(tmp_path, "mine")
    monkeypatch.setenv("TAILRACE_ACCELERATOR", "cpu")
    monkeypatch.setenv("TAILRACE_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("TAILRACE_WORKER_NAME", "mine")
    assert main() == os.EX_CONFIG
    assert "another worker named 'mine'" in capfd.readouterr().err
    workspace.close()


def test_a_missing_token_is_told_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAILRACE_ACCELERATOR", "cpu")
    monkeypatch.setenv("TAILRACE_WORK_DIR", str(tmp_path))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    assert main() == os.EX_CONFIG
    assert f"there is no worker token at {tmp_path / 'nowhere'}" in capfd.readouterr().err


def test_a_name_that_a_live_worker_elsewhere_has_is_refused_before_consuming(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_template: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path)
    with connect(served.address) as channel:
        WorkerStub(channel).RegisterWorker(
            stage_pb2.RegisterWorkerRequest(
                worker_id="mine",
                hostname="first-host",
                pools=["cpu"],
                slots=[worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU)],
                protocol_version=PROTOCOL_VERSION,
                instance_id="another-installation",
            )
        )
    monkeypatch.setenv("TAILRACE_ACCELERATOR", "cpu")
    monkeypatch.setenv("TAILRACE_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("TAILRACE_WORKER_NAME", "mine")
    monkeypatch.setenv("TAILRACE_SERVER", served.address)
    monkeypatch.setattr("workers.__main__._consume", lambda *_: pytest.fail("it consumes"))
    assert main() == os.EX_PROTOCOL
    stderr = capfd.readouterr().err
    assert "workers/mine is a live worker on host 'first-host'" in stderr
    assert socket.gethostname() in stderr
    served.stop()


def test_a_worker_with_another_token_ends_with_the_way_to_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_template: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path)
    other = tmp_path / "other-token"
    make(other)
    monkeypatch.setenv("TAILRACE_ACCELERATOR", "cpu")
    monkeypatch.setenv("TAILRACE_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("TAILRACE_SERVER", served.address)
    monkeypatch.setenv(VARIABLE, str(other))
    assert main() == os.EX_NOPERM
    stderr = capfd.readouterr().err
    assert VARIABLE in stderr
    assert other.read_text().strip() not in stderr
    served.stop()
