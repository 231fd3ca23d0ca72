from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from training.errors import DoesNotFitError
from training.machine import accelerators as module
from training.machine.accelerators import (
    PEAK_FLOPS,
    device_memory,
    device_memory_peak,
    device_memory_used,
    host_memory,
    host_memory_peak,
    peak_flops,
    require_room,
    size_text,
)


def device(kind: str = "cpu", statistics: dict[str, int] | None = None) -> Any:
    return SimpleNamespace(device_kind=kind, memory_stats=lambda: statistics)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_peaks_are_of_known_devices_only() -> None:
    assert peak_flops(device("NVIDIA H100 80GB HBM3")) == 989.4e12
    assert peak_flops(device("cpu")) is None
    assert all(1e13 < peak < 1e16 for peak in PEAK_FLOPS.values())


def test_memory_of_a_device_is_what_it_counts() -> None:
    counting = device(statistics={"bytes_limit": 80, "bytes_in_use": 30})
    assert (device_memory(counting), device_memory_used(counting)) == (80, 30)
    assert (device_memory(device()), device_memory_used(device())) == (None, 0)
    assert device_memory_peak() is None
    assert jax.devices()[0].platform == "cpu"


def test_what_has_no_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "host_memory", lambda: 10**9)
    require_room(10**9, "the weights")
    with pytest.raises(DoesNotFitError, match=r"the weights take 28 GB of memory, 1 GB are free"):
        require_room(28 * 10**9, "the weights")
    monkeypatch.setattr(module, "host_memory", lambda: None)
    require_room(28 * 10**9, "the weights")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_090_000, "1.09 MB"), (2.5e15, "2.5e+03 TB")]
)
def test_sizes_are_readable(count: float, text: str) -> None:
    assert size_text(count) == text


def test_the_peak_of_this_process_grows_with_what_it_takes() -> None:
    before = host_memory_peak()
    taken = np.ones(before + 50_000_000, np.uint8)
    assert host_memory_peak() >= before + 50_000_000
    assert taken.any()


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   50 kB\n"}, 51_200),
        (
            {
                "proc/meminfo": "MemAvailable: 50 kB\n",
                "sys/fs/cgroup/memory.max": "20000\n",
                "sys/fs/cgroup/memory.current": "15000\n",
                "sys/fs/cgroup/memory.stat": "anon 9\ninactive_file 1000\n",
            },
            6_000,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 50 kB\n",
                "sys/fs/cgroup/memory.max": "max\n",
                "sys/fs/cgroup/memory.current": "15000\n",
            },
            51_200,
        ),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "20000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "30000\n",
            },
            0,
        ),
    ],
)
def test_free_memory_is_the_least_of_machine_and_group(
    tmp_path: Path, files: dict[str, str], free: int | None
) -> None:
    assert host_memory(write(tmp_path, files)) == free
