"""Speed of the devices, and memory of devices and host."""

from __future__ import annotations

import math
import resource
import sys
from pathlib import Path

import jax

from training.errors import DoesNotFitError

PEAK_FLOPS: dict[str, float] = {
    # NVIDIA data sheets, dense (half of the figure "with sparsity").
    "NVIDIA H200": 989.4e12,  # H200 data sheet, SXM
    "NVIDIA H100 80GB HBM3": 989.4e12,  # H100 data sheet, SXM
    "NVIDIA H100 PCIe": 756e12,  # H100 data sheet
    "NVIDIA H100 NVL": 835e12,  # H100 data sheet, one GPU
    "NVIDIA A100-SXM4-80GB": 312e12,  # A100 data sheet
    "NVIDIA A100-SXM4-40GB": 312e12,  # A100 data sheet
    "NVIDIA A100 80GB PCIe": 312e12,  # A100 data sheet
    "NVIDIA A100-PCIE-40GB": 312e12,  # A100 data sheet
    "NVIDIA L40S": 362e12,  # L40S data sheet
    "NVIDIA L4": 121e12,  # L4 data sheet
    "NVIDIA A10": 125e12,  # A10 data sheet
    "NVIDIA GeForce RTX 4090": 165.2e12,  # Ada architecture whitepaper, float32 accumulation
    # Google Cloud TPU documentation, system architecture, per chip.
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}
"""Peak bfloat16 operations per second of one device, by JAX's ``device_kind``."""


def peak_flops(device: jax.Device) -> float | None:
    """Return the peak bfloat16 operations per second; None for a device that is not listed."""
    return PEAK_FLOPS.get(device.device_kind)


def device_memory(device: jax.Device) -> int | None:
    """Return the bytes that JAX may use on a device; None if it shares the host's memory."""
    return _statistic(device, "bytes_limit")


def device_memory_used(device: jax.Device) -> int:
    """Return the bytes in use on a device; 0 if the device does not count them."""
    return _statistic(device, "bytes_in_use") or 0


def require_room(needed: int, what: str) -> None:
    """Require ``needed`` bytes of free memory on the device for arrays.

    Raises:
        DoesNotFitError: Less memory is free.
    """
    device = jax.local_devices()[0]
    limit = device_memory(device)
    free = host_memory() if limit is None else limit - device_memory_used(device)
    if free is not None and needed > free:
        raise DoesNotFitError(
            f"{what} take {size_text(needed)} of memory, {size_text(free)} are free: ask for a "
            "pool with more memory, or use a smaller model"
        )


def size_text(count: float) -> str:
    """Return bytes in decimal units with three digits, such as ``1.09 MB``."""
    power = min(4, int(math.log10(max(1, count)) // 3))
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def device_memory_peak() -> int | None:
    """Return the peak of bytes in use on the fullest device; None if no device counts them."""
    peaks = [_statistic(device, "peak_bytes_in_use") for device in jax.local_devices()]
    return max((peak for peak in peaks if peak is not None), default=None)


def host_memory_peak() -> int:
    """Return the peak of this process's resident bytes (getrusage(2))."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def host_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that the machine and the control group leave to this process.

    None on systems other than Linux. ``root`` is the root of the file system.
    """
    free = [amount for amount in (_available(root), _group_rest(root)) if amount is not None]
    return min(free, default=None)


def _available(root: Path) -> int | None:
    text = _read(root / "proc/meminfo")
    for line in (text or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _group_rest(root: Path) -> int | None:
    """Return the bytes that the control group (version 2 or 1) leaves, with droppable caches."""
    for folder, limit_name, used_name, cache in (
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        (
            "sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        limit, used = (_read(root / folder / name) for name in (limit_name, used_name))
        if limit is None or used is None or not limit.strip().isdigit():
            continue
        statistics = dict(
            line.split() for line in (_read(root / folder / "memory.stat") or "").splitlines()
        )
        return max(0, int(limit) - int(used) + int(statistics.get(cache, 0)))
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _statistic(device: jax.Device, name: str) -> int | None:
    statistics = device.memory_stats()
    return int(statistics[name]) if statistics and name in statistics else None
