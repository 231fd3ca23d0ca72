"""Folders of attempts: locked by the living, cleared after the dead."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace.formats.dispatch import TaskId
from workers.attempt.workspace import Workspace, WorkspaceError, attempt_folder

TASK = TaskId("uid", "train", 1)

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom workers.attempt.workspace import Workspace\n"
    "w = Workspace(Path(sys.argv[1]), sys.argv[2])\n(w.folder / 'cpu-0').mkdir()\n"
    "print('ready', flush=True)\ntime.sleep(600)\n"
)


def hold(work_dir: Path, name: str) -> subprocess.Popen[str]:
    """Another worker process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(work_dir), name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_living_are_left_alone_and_the_dead_cleared(tmp_path: Path) -> None:
    living, dead = hold(tmp_path, "living"), hold(tmp_path, "dead")
    (tmp_path / "not-ours").mkdir()
    os.kill(dead.pid, signal.SIGKILL)
    dead.wait()
    try:
        mine = Workspace(tmp_path, "mine")
        assert (tmp_path / "living/cpu-0").is_dir()
        assert not (tmp_path / "dead").exists()
        assert (tmp_path / "not-ours").is_dir()
        assert stat.S_IMODE(mine.folder.stat().st_mode) == 0o700
        with pytest.raises(WorkspaceError, match="another worker named 'living'"):
            Workspace(tmp_path, "living")
        mine.close()
        assert not mine.folder.exists()
    finally:
        living.kill()
        living.communicate()
        dead.communicate()


def test_a_restarted_worker_takes_its_name_over(tmp_path: Path) -> None:
    first = hold(tmp_path, "steady")
    first.kill()
    first.communicate()
    assert (tmp_path / "steady/cpu-0").exists()
    (tmp_path / "steady/control.sock").touch()
    again = Workspace(tmp_path, "steady")
    assert [path.name for path in again.folder.iterdir()] == ["owner.lock"]
    again.close()


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot use"):
        Workspace(tmp_path / "file", "w")


def test_attempts_start_empty_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu-0/left/over").mkdir(parents=True)
    with attempt_folder(tmp_path, "cpu-0", TASK) as one:
        assert list((tmp_path / "cpu-0").iterdir()) == [one]
        assert list(one.iterdir()) == []
        assert one.name.startswith("uid.train.1.")
        (one / "file").write_text("x")
        with attempt_folder(tmp_path, "cpu-1", TASK) as two:
            assert two.name != one.name
    assert not (tmp_path / "cpu-0").exists()


def test_a_slot_is_cleared_of_what_a_dead_process_left(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "w-1")
    left = workspace.folder / "cpu-0" / "uid1.train.1.0123" / "output"
    left.mkdir(parents=True)
    (left / "weights").write_bytes(b"w")
    workspace.clear_slot("cpu-0")
    workspace.clear_slot("cpu-1")
    assert not (workspace.folder / "cpu-0").exists()
    workspace.close()


def test_a_failed_attempt_leaves_nothing_either(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), attempt_folder(tmp_path, "cpu-0", TASK):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
