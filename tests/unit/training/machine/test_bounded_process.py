"""Work that content from outside chooses: its process is killed when it is too much."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.unit.workers.conftest import wait_gone
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError


def work(request: dict[str, Any]) -> object:
    """Run in the process under test."""
    what, value = request.popitem()
    match what:
        case "echo":
            return value
        case "sleep":
            time.sleep(value)
        case "grow":
            return len(b"x" * value)
        case "answer":
            return "x" * value
        case "die":
            os.kill(os.getpid(), value)
        case "print":
            print(value)  # noqa: T201
        case "environment":
            return dict(os.environ)
        case _:
            raise ValueError(f"no such work: {what}")
    return None


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[BoundedProcess]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    made = BoundedProcess("test_bounded_process:work", seconds=10.0, memory_bytes=512 << 20)
    yield made
    made.close()


def test_it_does_one_request_after_the_other(process: BoundedProcess) -> None:
    value = {"text": "ü\n\u2028", "numbers": [1, 2.5, None]}
    assert [process.ask({"echo": value}) for _ in range(3)] == [value] * 3
    assert process.ask({"print": "not a reply"}) is None
    assert process.ask({"echo": "x" * 5_000_000}) == "x" * 5_000_000
    with pytest.raises(WorkFailedError, match="ValueError: no such work: play"):
        process.ask({"play": 1})
    assert process.ask({"echo": 2}) == 2


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"grow": 10**9}, "needs more than 512 MiB of memory"),
        ({"answer": 70 << 20}, "needs more than 512 MiB of memory"),
        ({"die": 11}, "needs more than 512 MiB of memory, or is nested too deeply"),
    ],
)
def test_what_is_too_large_is_given_up(
    process: BoundedProcess, request_: dict[str, Any], says: str
) -> None:
    with pytest.raises(OutOfBoundsError, match=says):
        process.ask(request_)
    assert process.ask({"echo": 1}) == 1


def test_what_takes_too_long_is_killed(process: BoundedProcess) -> None:
    process.ask({"echo": 1})
    (child,) = [
        c for c in psutil.Process().children() if "test_bounded_process:work" in c.cmdline()
    ]
    process.seconds = 0.2
    with pytest.raises(OutOfBoundsError, match=r"takes longer than 0\.2 s"):
        process.ask({"sleep": 60})
    wait_gone([child])
    process.seconds = 10.0
    assert process.ask({"echo": 1}) == 1


def test_it_gets_no_secret_of_its_maker(
    process: BoundedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted")
    assert "planted" not in str(process.ask({"environment": 1}))


def test_it_ends_with_its_maker() -> None:
    code = (
        "import os, time\n"
        "from training.machine.bounded_process import BoundedProcess\n"
        "process = BoundedProcess('test_bounded_process:work', seconds=60, memory_bytes=1 << 30)\n"
        "process.ask({'echo': 1})\n"
        "print(process._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        cwd=Path(__file__).parents[4],
    )
    pid = int(done.stdout)
    if psutil.pid_exists(pid):
        wait_gone([psutil.Process(pid)])
