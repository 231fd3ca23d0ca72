"""The process's device, threads and compilation cache, chosen before JAX is imported."""

from __future__ import annotations

import enum
import hashlib
import logging
import os
import platform
import sys
from pathlib import Path

from training.errors import ConfigError, DeviceError


class Device(enum.StrEnum):
    """Device to compute on."""

    AUTO = "auto"
    """The device that JAX prefers."""
    CPU = "cpu"
    """The processor."""
    GPU = "gpu"
    """An NVIDIA GPU; needs JAX's CUDA plugin."""
    TPU = "tpu"
    """A TPU; needs JAX's TPU plugin."""


_PLATFORMS = {Device.CPU: "cpu", Device.GPU: "cuda", Device.TPU: "tpu"}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NPROC")


def prepare_process(
    device: Device = Device.AUTO, threads: int | None = None, cache_dir: Path | None = None
) -> None:
    """Choose the device, limit the CPU threads and set the compilation cache of this process.

    JAX reads these once, so it must not be imported yet. Programs are cached below ``cache_dir``,
    separately for each kind of host. ``threads`` of None leaves the threads unchanged.

    Raises:
        ConfigError: JAX is imported already, or there are fewer cores than threads.
    """
    if "jax" in sys.modules:
        raise ConfigError("prepare_process must be called before anything imports jax")
    if device in _PLATFORMS:
        os.environ["JAX_PLATFORMS"] = _PLATFORMS[device]
    if threads is not None:
        limit_threads(threads)
    if cache_dir is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache_dir / host_key())
        # Cache small programs, too: a nano model compiles longer than it trains.
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    for library in ("jax", "absl", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # Hide transformers' notice that PyTorch is missing.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def host_key() -> str:
    """Return a key for the kind of host, so that different hosts may share a cache folder.

    Compiled programs use the instructions of a processor, which JAX's cache key leaves out.
    """
    facts = [platform.machine(), processor(), *sorted(_cpu_info("flags").split())]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def processor() -> str:
    """Return the processor's model; empty if it is unknown."""
    return _cpu_info("model name") or platform.processor()


def _cpu_info(name: str) -> str:
    """Return the first value of ``name`` in Linux's /proc/cpuinfo; empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def limit_threads(threads: int) -> None:
    """Restrict this process to ``threads`` CPU cores.

    XLA sizes its pool by the process's affinity; the variables are for other libraries.

    Raises:
        ConfigError: There are fewer cores.
    """
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    if not hasattr(os, "sched_setaffinity"):
        return  # macOS has no affinity; the variables must do.
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise ConfigError(f"{threads} threads are requested, but there are {len(cores)} cores")
    os.sched_setaffinity(0, cores[:threads])


def require_device() -> None:
    """Start JAX's backend.

    Raises:
        DeviceError: JAX cannot use the device.
    """
    import jax

    from training.machine.compilation_cache import delete_damaged_entries

    delete_damaged_entries()
    try:
        jax.devices()
    except RuntimeError as error:
        platform_name = os.environ.get("JAX_PLATFORMS", "auto")
        raise DeviceError(
            f"JAX cannot use the device {platform_name!r}: {error}. Give --device auto or cpu, or "
            "install the JAX plugin of that device"
        ) from error


def device_name() -> str:
    """Return the kind of the first device, such as ``cpu`` or ``NVIDIA H100 80GB HBM3``."""
    import jax

    return str(jax.devices()[0].device_kind)
