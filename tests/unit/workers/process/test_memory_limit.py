"""The memory of stages: counted without what is only reserved or mapped, with that of children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.servers.node import wait_until
from workers.process import memory_limit
from workers.process.memory_limit import MemoryWatch, held_bytes, share_bytes

MIB = 1 << 20

SCRIPT = """
import mmap, subprocess, sys
kind, path = sys.argv[1:]
if kind == "reserve":
    kept = mmap.mmap(-1, 64 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
if kind == "map":
    with open(path, "rb") as file:
        kept = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    sum(kept[i] for i in range(0, len(kept), 4096))
if kind == "take":
    kept = b"x" * (200 << 20)
if kind == "child":
    subprocess.Popen([sys.executable, "-c", "x = b'x' * (200 << 20); input()"])
print("ready", flush=True)
input()
"""


@pytest.mark.parametrize(
    ("kind", "too_much"), [("reserve", False), ("map", False), ("take", True), ("child", True)]
)
def test_what_a_stage_holds_counts(
    kind: str, too_much: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_limit, "_FIND_SECONDS", 0.0)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(200 * MIB)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, kind, str(large)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        watch = MemoryWatch(process.pid, 200 * MIB)
        if too_much:
            wait_until(lambda: watch.overuse() is not None, "the memory", 10)
            overuse = watch.overuse()
            assert overuse is not None
            assert overuse.used_bytes < 260 * MIB
            assert overuse.limit_bytes == 200 * MIB
        else:
            assert watch.overuse() is None
        assert MemoryWatch(process.pid, None).overuse() is None


def test_a_process_that_ended_holds_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert held_bytes(process.pid) == 0
    assert MemoryWatch(process.pid, 1).overuse() is None


@pytest.mark.parametrize(
    ("place", "name", "content", "limited"),
    [
        ("a/b", "memory.max", "1000000000\n", True),
        ("a", "memory.max", "1000000000\n", True),
        ("", "memory.max", "1000000000\n", True),
        ("memory/old", "memory.limit_in_bytes", "1000000000\n", True),
        ("memory", "memory.limit_in_bytes", "1000000000\n", True),
        ("a/b", "memory.max", "max\n", False),
        ("memory/old", "memory.limit_in_bytes", "9223372036854771712\n", False),
        ("elsewhere", "memory.max", "1000000000\n", False),
    ],
)
def test_slots_share_the_memory_of_the_control_group_or_else_of_the_host(
    tmp_path: Path, place: str, name: str, content: str, limited: bool
) -> None:
    proc, system = tmp_path / "proc", tmp_path / "sys"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text("0::/a/b\n4:memory,cpu:/old\n")
    (system / place).mkdir(parents=True)
    (system / place / name).write_text(content)
    total = 1_000_000_000 if limited else psutil.virtual_memory().total
    assert share_bytes(1, proc, system) == total * 9 // 10
    assert share_bytes(4, proc, system) == total * 9 // 10 // 4


def test_this_process_holds_something() -> None:
    assert 10 * MIB < held_bytes(os.getpid()) <= psutil.virtual_memory().total
