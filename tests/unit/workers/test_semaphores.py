"""The helper process of Celery's pool has nothing that a stage may not read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import __main__ as program
from workers.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

START = """
import os, sys, time
from pathlib import Path
from workers.semaphores import start_semaphore_tracker

start_semaphore_tracker(Path(sys.argv[1]))
children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
assert len(children) == 1, children
deadline = time.monotonic() + 30
while "semaphore_tracker" not in Path("/proc", children[0], "cmdline").read_text():
    assert time.monotonic() < deadline, "it has not begun"
    time.sleep(0.01)
print(os.environ["TAILRACE_BROKER_URL"])
print(Path("/proc", children[0], "environ").read_text())
"""


def test_its_environment_is_that_of_a_stage(tmp_path: Path) -> None:
    secrets = {"TAILRACE_BROKER_URL": "amqp://user:a-password@host//", "HF_TOKEN": "a-token"}
    result = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path)],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    own, _, environment = result.stdout.partition("\n")
    assert own == secrets["TAILRACE_BROKER_URL"], "the worker keeps its own variables"
    assert "PATH=" in environment
    assert "a-password" not in environment
    assert "a-token" not in environment


def test_a_worker_starts_it_before_anything_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    homes: list[Path] = []
    monkeypatch.setattr(program, "forbid_reading", lambda: None)
    monkeypatch.setattr(program.logs, "configure", lambda _: None)
    monkeypatch.setattr(program, "start_semaphore_tracker", homes.append)
    monkeypatch.setenv("TAILRACE_JUDGE_KEYS_FILE", "/missing")
    assert program.main() == os.EX_CONFIG
    assert homes == [Settings().work_dir]
