"""Slots: disjoint, equally wide, and refused where the host cannot give them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.accelerators import (
    Accelerator,
    AcceleratorError,
    Host,
    Slot,
    detect,
    make_slots,
    stage_environment,
)

CORES = tuple(range(8))


@given(
    cores=st.sets(st.integers(0, 512), min_size=1, max_size=64),
    count=st.integers(1, 64),
)
def test_cpu_slots_are_disjoint_and_equally_wide(cores: set[int], count: int) -> None:
    host = Host(tuple(sorted(cores)))
    if count > len(cores):
        with pytest.raises(AcceleratorError, match="CPU cores"):
            make_slots(host, "cpu", count)
        return
    slots = make_slots(host, "auto", count)
    cores_in_use = [core for slot in slots for core in slot.cores]
    assert len(slots) == count
    assert len(cores_in_use) == len(set(cores_in_use))
    assert set(cores_in_use) <= cores
    assert {len(slot.cores) for slot in slots} == {len(cores) // count}
    assert len({slot.id for slot in slots}) == count


def test_gpus_make_a_slot_each_or_groups() -> None:
    host = Host(CORES, gpus=(0, 1, 2, 3))
    assert [slot.devices for slot in make_slots(host, "auto", 0)] == [(0,), (1,), (2,), (3,)]
    assert [slot.devices for slot in make_slots(host, "gpu", 2)] == [(0, 1), (2, 3)]
    assert make_slots(host, "cpu", 0) == [Slot("cpu-0", Accelerator.CPU, (), CORES)]
    with pytest.raises(AcceleratorError, match="cannot be divided equally among 3"):
        make_slots(host, "gpu", 3)


def test_tpu_chips_stay_together_or_are_all_apart() -> None:
    host = Host(CORES, tpu_chips=(0, 1, 2, 3))
    assert [slot.devices for slot in make_slots(host, "auto", 0)] == [(0, 1, 2, 3)]
    assert len(make_slots(host, "tpu", 4)) == 4
    with pytest.raises(AcceleratorError, match="not 2"):
        make_slots(host, "tpu", 2)


@pytest.mark.parametrize("accelerator", ["gpu", "tpu"])
def test_what_is_not_there_is_never_replaced(accelerator: str) -> None:
    with pytest.raises(AcceleratorError, match="found"):
        make_slots(Host(CORES), accelerator, 0)


def test_each_slot_sees_its_own_devices_only() -> None:
    cpu = stage_environment(Slot("cpu-0", Accelerator.CPU, (), (0, 1)), 2)
    assert (cpu["JAX_PLATFORMS"], cpu["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert cpu["PJRT_NPROC"] == cpu["OMP_NUM_THREADS"] == "2"
    gpu = stage_environment(Slot("gpu-1", Accelerator.GPU, (2, 3), (0,)), 1)
    assert (gpu["JAX_PLATFORMS"], gpu["CUDA_VISIBLE_DEVICES"]) == ("cuda,cpu", "2,3")
    tpu = stage_environment(Slot("tpu-1", Accelerator.TPU, (1,), (0,)), 1)
    assert (tpu["TPU_VISIBLE_CHIPS"], tpu["TPU_PROCESS_BOUNDS"]) == ("1", "1,1,1")
    assert "TPU_PROCESS_BOUNDS" not in stage_environment(
        Slot("tpu-0", Accelerator.TPU, (0, 1), (0,)), 1
    )


def smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an nvidia-smi of our own on PATH."""
    binary = folder / "nvidia-smi"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_gpus_are_those_that_nvidia_smi_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "printf '0\\n1\\n'", monkeypatch)
    host = detect(tmp_path)
    assert host.gpus == (0, 1)
    assert set(host.cores) == os.sched_getaffinity(0)
    smi(tmp_path, "echo 'No devices were found'; exit 6", monkeypatch)
    assert detect(tmp_path).gpus == ()


def test_a_broken_gpu_host_does_not_pass_as_a_cpu_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "echo 'driver mismatch' >&2; exit 9", monkeypatch)
    with pytest.raises(AcceleratorError, match="driver mismatch"):
        detect(tmp_path)


def test_tpu_chips_are_told_from_other_cards_of_the_vendor(tmp_path: Path) -> None:
    devices = {"chip0": "0x0063", "chip1": "0x0063", "network": "0x0042"}
    for name, model in devices.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text("0x1ae0\n")
        (tmp_path / name / "device").write_text(f"{model}\n")
    assert detect(tmp_path).tpu_chips == (0, 1)
