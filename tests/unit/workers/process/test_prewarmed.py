"""The prewarmed process: used once, for the launch it was started with, and ended on close."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from tests.servers.node import Process, wait_until
from tests.unit.workers.conftest import wait_gone
from tests.unit.workers.process.test_stage_process import read, wait_end
from workers.process.prewarmed import Launch, Prewarmer

SCRIPT = """
import os, sys
waited = sys.argv[1] == "-"
if waited:
    print("loaded", flush=True)
job = input() if waited else sys.argv[1]
print(waited, job, os.environ["MARK"], sys.argv[2:-2], flush=True)
"""


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Launch(
        (sys.executable, "-c", SCRIPT),
        {**os.environ, "MARK": "1"},
        (min(os.sched_getaffinity(0)),),
        tmp_path / "cache",
    )


@pytest.fixture
def prewarmer(tmp_path: Path) -> Iterator[Prewarmer]:
    new_prewarmer = Prewarmer(tmp_path)
    yield new_prewarmer
    new_prewarmer.close()
    assert not children()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job.json"


_others: set[int] = set()
"""Children that were there before the test: servers that other tests share."""


@pytest.fixture(autouse=True)
def _remember_others() -> None:
    _others.clear()
    _others.update(child.pid for child in psutil.Process().children())


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in _others]


def run(prewarmer: Prewarmer, launch: Launch, job: Path) -> tuple[int, list[str], list[str]]:
    """Start and end a process; its id, what it printed, and what the worker logged."""
    with capture_logs() as logged:
        process = prewarmer.start(launch, job)
    assert wait_end(process) == 0
    os.close(process.events)
    logged_reasons = [str(entry.get("reason", entry["event"])) for entry in logged]
    return process.pid, read(process.output).splitlines(), logged_reasons


def test_a_process_waits_settled_and_gets_one_job(
    prewarmer: Prewarmer, launch: Launch, job: Path
) -> None:
    prewarmer.refill(launch)
    prewarmer.refill(launch)
    stage, watchdog = children()
    pid, printed, logged_reasons = run(prewarmer, launch, job)
    assert pid in (stage.pid, watchdog.pid)
    settled = ["--threads", "1", "--cache-dir", str(launch.cache_dir)]
    assert printed == ["loaded", f"True {job} 1 {settled}"]
    assert logged_reasons == ["warm start"]

    other, printed, logged_reasons = run(prewarmer, launch, job)
    assert other != pid
    assert (printed, logged_reasons) == ([f"False {job} 1 []"], ["there is no prewarmed process"])


def test_another_environment_or_other_threads_get_a_fresh_process(
    prewarmer: Prewarmer, launch: Launch, job: Path
) -> None:
    prewarmer.refill(launch)
    waiting = children()
    changed = replace(launch, environment={**launch.environment, "MARK": "2"})
    _, printed, logged_reasons = run(prewarmer, changed, job)
    assert printed == [f"False {job} 2 []"]
    assert logged_reasons == ["the prewarmed process has other threads or another environment"]
    wait_gone(waiting)


def test_one_that_died_in_waiting_is_told_and_replaced(
    prewarmer: Prewarmer, launch: Launch, job: Path
) -> None:
    broken = replace(launch, command=(sys.executable, "-c", "raise SystemExit('no jax here')"))
    prewarmer.refill(broken)
    (stage,) = [child for child in children() if "watchdog.py" not in "".join(child.cmdline())]
    wait_until(lambda: stage.status() == psutil.STATUS_ZOMBIE, "the death", 20)
    with capture_logs() as logged:
        process = prewarmer.start(launch, job)
    assert wait_end(process) == 0
    assert read(process.output) == f"False {job} 1 []\n"
    os.close(process.events)
    assert (logged[0]["status"], logged[0]["output"]) == (1, "no jax here")
    assert logged[1]["reason"] == "the prewarmed process had ended"
    prewarmer.refill(launch)
    assert run(prewarmer, launch, job)[2] == ["warm start"]


def test_where_it_is_off_nothing_waits_and_nothing_is_said(
    tmp_path: Path, launch: Launch, job: Path
) -> None:
    prewarmer = Prewarmer(tmp_path, enabled=False)
    prewarmer.refill(launch)
    assert not children()
    _, printed, logged_reasons = run(prewarmer, launch, job)
    assert (printed, logged_reasons) == ([f"False {job} 1 []"], [])


def test_it_dies_with_its_worker(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        from workers.process.prewarmed import Launch, Prewarmer
        launch = Launch((sys.executable, "-c", {SCRIPT!r}), dict(os.environ), (0,), Path("/"))
        prewarmer = Prewarmer(Path({str(tmp_path)!r}))
        prewarmer.refill(launch)
        print("ready", flush=True)
        time.sleep(600)
        """
    ).replace("(0,)", f"({min(os.sched_getaffinity(0))},)")
    worker = Process([sys.executable, "-c", code], log=tmp_path / "log")
    wait_until(lambda: "ready" in worker.tail(), "the worker", 30)
    tree = psutil.Process(worker.pid).children(recursive=True)
    assert len(tree) == 2
    worker.send(signal.SIGKILL)
    wait_gone(tree)
    worker.kill_group()
