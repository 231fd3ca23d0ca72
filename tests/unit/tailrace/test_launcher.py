from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
    command = launcher.command(signal.SIGTERM, ["cat", "/proc/self/status"], hidden=[])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines())
    assert status["NoNewPrivs"] == "1"
    ptrace, admin = 1 << 19, 1 << 21
    assert not int(status["CapEff"], 16) & (ptrace | admin)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches; those of pytest are its user's alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize("user", [None, "nobody"])
def test_hidden_files_are_empty_for_the_child_alone(
    open_folder: Path, user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For root, who has namespaces by himself, and for others, who need one of users as well."""
    if user is not None:
        if os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
            pytest.skip(
                "only root can become another user, with an interpreter that is open to all"
            )
        # Neither this interpreter nor this checkout needs to be open to others.
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
        script = shutil.copy(launcher.__file__, open_folder)
        monkeypatch.setattr(launcher, "__file__", script)

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, user=user, cwd="/"
        )

    if run(["unshare", "-m" if os.geteuid() == 0 and user is None else "-rm", "true"]).returncode:
        pytest.skip("this system allows no mount namespace")
    (open_folder / "folder").mkdir()
    secrets = (open_folder / "folder/key", open_folder / "token", open_folder / "other")
    for path in secrets:
        path.write_text(path.name)
        path.chmod(0o644)
    token = open_folder / "token"
    show = f"cat {open_folder}/other {token}; ls {open_folder}/folder; umount {token}"
    hidden = [open_folder / "folder", token, open_folder / "missing"]
    done = run(launcher.command(signal.SIGTERM, ["sh", "-c", show], hidden=hidden))
    assert done.stdout == "other", done.stderr
    assert "umount" in done.stderr, "it cannot be uncovered"
    assert [path.read_text() for path in secrets] == ["key", "token", "other"]


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
