"""The kernel's kills for memory, as it counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.process.oom import OomCounter


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "self/cgroup").write_text("0::/a/b\n4:memory,cpu:/old\n1:name=systemd:/x\n")
    (folder / "vmstat").write_text("nr_free_pages 5\noom_kill 0\n")
    return folder


@pytest.mark.parametrize("name", ["a/b/memory.events", "memory/old/memory.oom_control"])
def test_kills_of_the_own_control_group_count(tmp_path: Path, proc: Path, name: str) -> None:
    path = tmp_path / "sys" / name
    path.parent.mkdir(parents=True)
    path.write_text("oom 9\noom_kill 2\noom_group_kill 7\n")
    counter = OomCounter(proc, tmp_path / "sys")
    path.write_text("oom 99\noom_kill 2\n")
    assert not counter.rose()
    path.write_text("oom 99\noom_kill 3\n")
    assert counter.rose()


def test_kills_of_a_whole_host_count(tmp_path: Path, proc: Path) -> None:
    counter = OomCounter(proc, tmp_path)
    (proc / "vmstat").write_text("oom_kill 1\n")
    assert counter.rose()


@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_host_without_counters_counts_nothing(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "vmstat").write_text(content)
    assert not OomCounter(tmp_path, tmp_path).rose()
