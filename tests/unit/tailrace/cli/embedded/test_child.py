from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailrace.cli.embedded.child import Child
from tailrace.cli.errors import CommandError

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("grandchild", sleeper.pid)
time.sleep(60)
"""


def _child(tmp_path: Path, script: str, grace: float = 5.0) -> Child:
    return Child("helper", [sys.executable, "-c", script], {"X": "y"}, tmp_path / "log", grace)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)


def _grandchild(child: Child) -> int:
    return child.wait_for(
        lambda: int(out.split()[-1]) if (out := child.output()).endswith("\n") else None, 10
    )


def test_it_has_a_session_of_its_own_and_stops_on_sigterm(tmp_path: Path) -> None:
    child = _child(tmp_path, "import os, time; print(os.environ['X']); time.sleep(60)")
    child.wait_for(lambda: child.output() or None, 10)
    assert child.output() == "y\n"
    assert os.getsid(child.pid) == child.pid
    began = time.monotonic()
    child.stop()
    assert time.monotonic() - began < 3
    assert not _alive(child.pid)


def test_after_the_grace_period_the_whole_group_is_killed(tmp_path: Path) -> None:
    child = _child(tmp_path, STUBBORN, grace=0.3)
    grandchild = _grandchild(child)
    child.stop()
    assert not _alive(child.pid)
    _wait_gone(grandchild)


def test_an_early_end_is_told_with_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of an earlier start\n")
    child = _child(tmp_path, "import sys; print('cannot bind'); sys.exit(3)")
    with pytest.raises(CommandError) as raised:
        child.wait_for(lambda: None, 10)
    assert "the helper ended (exit status 3)\n  | cannot bind\n" in str(raised.value)
    assert "earlier" not in str(raised.value)
    child.stop()


def test_not_ready_in_time(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(CommandError, match="not ready after 0 s"):
        child.wait_for(lambda: None, 0.2)
    child.stop(0)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from tailrace.cli.embedded.child import Child
argv = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
child = Child("helper", argv, {{}}, Path({str(tmp_path / "log")!r}), 1.0)
child.wait_for(lambda: child.output() or None, 10)
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert _alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _wait_gone(pid)


def test_a_large_log_is_rotated_while_the_process_writes(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.cli.embedded.child.MAX_LOG_BYTES", 1000)
    log, fifo = tmp_path / "log", tmp_path_factory.mktemp("fifo") / "fifo"
    os.mkfifo(fifo)
    log.write_text("of an earlier run\n" * 100)
    child = _child(tmp_path, f"for line in open({str(fifo)!r}): print(line.strip() * 500)")
    fed = os.open(fifo, os.O_WRONLY)
    try:
        assert (tmp_path / "log.1").read_text().startswith("of an earlier run")
        for letter in "abcd":
            os.write(fed, f"{letter}{letter}\n".encode())
            child.wait_for(lambda letter=letter: letter in child.output() or None, 10)
            child.rotate_log()
            child.rotate_log()
        os.write(fed, b"z\n")
        assert child.wait_for(lambda: child.output() or None, 10).startswith("z")
    finally:
        child.stop(0)
        os.close(fed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]
    assert [(tmp_path / f"log.{n}").read_text()[0] for n in (1, 2, 3)] == ["d", "c", "b"]
