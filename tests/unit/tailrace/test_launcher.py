from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tailrace import launcher


def test_the_command_takes_the_launchers_place() -> None:
    command = launcher.command(
        signal.SIGTERM, [sys.executable, "-c", "import os; print(os.getpid())"]
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert int(child.stdout.read()) == child.pid


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_signal_is_set() -> None:
    read = (
        "import ctypes; n = ctypes.c_int(); "
        "ctypes.CDLL(None).prctl(2, ctypes.byref(n), 0, 0, 0); print(n.value)"
    )
    command = launcher.command(signal.SIGUSR1, [sys.executable, "-c", read])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == signal.SIGUSR1


@pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
def test_it_is_pinned() -> None:
    core = min(os.sched_getaffinity(0))
    show = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    command = launcher.command(signal.SIGTERM, show, [core])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        f"{{{core}}}\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_confined_child_looks_into_no_other_process() -> None:
    command = launcher.command(signal.SIGTERM, ["cat", "/proc/self/status"], confined=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines())
    assert status["NoNewPrivs"] == "1"
    ptrace, admin = 1 << 19, 1 << 21
    assert not int(status["CapEff"], 16) & (ptrace | admin)


def test_a_command_that_is_not_there() -> None:
    command = launcher.command(signal.SIGTERM, ["/no/such/program"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert done.stderr == "cannot start /no/such/program: No such file or directory\n"


def test_a_parent_that_has_ended_already() -> None:
    command = launcher.command(signal.SIGTERM, ["true"])
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "its parent ended first" in done.stderr
