"""Devices of a host, and their division into slots.

A stage process sees the devices of its slot only: CPU cores by affinity, GPUs by
``CUDA_VISIBLE_DEVICES``, TPU chips by ``TPU_VISIBLE_CHIPS``.
"""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_NVIDIA_SMI_SECONDS = 20.0


class AcceleratorError(Exception):
    """The host cannot be divided into such slots; the message names the way out."""


class Accelerator(enum.StrEnum):
    """Kind of device of a slot."""

    CPU = "cpu"
    """CPU cores."""
    GPU = "gpu"
    """NVIDIA GPUs."""
    TPU = "tpu"
    """TPU chips."""


@dataclass(frozen=True)
class Slot:
    """A schedulable share of the host."""

    id: str
    """Slot id, such as ``cpu-0``, unique on the worker."""
    accelerator: Accelerator
    """Kind of its devices."""
    devices: tuple[int, ...]
    """Indices of its GPUs or TPU chips; empty for CPU slots."""
    cores: tuple[int, ...]
    """CPU cores that its stage processes are pinned to."""


@dataclass(frozen=True)
class Host:
    """Devices of the host."""

    cores: tuple[int, ...]
    """CPU cores that this process may use."""
    gpus: tuple[int, ...] = ()
    """Indices of NVIDIA GPUs."""
    tpu_chips: tuple[int, ...] = ()
    """Indices of TPU chips."""


def detect(pci_folder: Path = Path("/sys/bus/pci/devices")) -> Host:
    """Detect the devices of this host. Blocks while ``nvidia-smi`` runs, for at most 20 s.

    Raises:
        AcceleratorError: ``nvidia-smi`` exists but fails. A GPU host that silently served as a CPU
            host would be worse.
    """
    return Host(
        cores=tuple(sorted(os.sched_getaffinity(0))),
        gpus=_gpus(),
        tpu_chips=_tpu_chips(pci_folder),
    )


def make_slots(host: Host, accelerator: str, count: int) -> list[Slot]:
    """Divide a host into slots with disjoint sets of cores and devices of equal size.

    Args:
        host: The host's devices.
        accelerator: ``auto`` (GPUs, else TPU chips, else CPU cores) or an accelerator's name.
        count: Number of slots; 0 for one per GPU, one for all TPU chips, one for all cores.

    Raises:
        AcceleratorError: The host has no such accelerator, or cannot be divided like this.
    """
    kind = _kind(host, accelerator)
    devices = {
        Accelerator.CPU: (),
        Accelerator.GPU: host.gpus,
        Accelerator.TPU: host.tpu_chips,
    }[kind]
    count = count or (len(devices) if kind is Accelerator.GPU else 1)
    if kind is Accelerator.TPU and count not in (1, len(devices)):
        raise AcceleratorError(
            f"{len(devices)} TPU chips form 1 slot or {len(devices)} slots, not {count}"
        )
    if devices and len(devices) % count:
        raise AcceleratorError(
            f"{len(devices)} {kind.value} devices cannot be divided equally among {count} slots"
        )
    if count > len(host.cores):
        raise AcceleratorError(
            f"{count} slots need as many CPU cores; this host has {len(host.cores)}"
        )
    # Equal sizes, even if cores are left over: results are byte-equal only between slots of equal
    # size.
    return [
        Slot(f"{kind.value}-{i}", kind, chunk, cores)
        for i, (chunk, cores) in enumerate(
            zip(_shares(devices, count), _shares(host.cores, count), strict=True)
        )
    ]


def stage_environment(slot: Slot, threads: int) -> dict[str, str]:
    """Return the variables that keep a stage process within its slot.

    XLA's CPU client sizes its thread pool by ``PJRT_NPROC``, or else by CPU affinity; its
    ``xla_cpu_multi_thread_eigen`` flag has no effect on that (measured with jax 0.10). BLAS, OpenMP
    and the tokenizers read the other variables.
    """
    pins = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    devices = ",".join(map(str, slot.devices))
    if slot.accelerator is Accelerator.CPU:
        return pins | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if slot.accelerator is Accelerator.GPU:
        return pins | {
            "JAX_PLATFORMS": "cuda,cpu",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": devices,
        }
    pins |= {"JAX_PLATFORMS": "tpu,cpu", "TPU_VISIBLE_CHIPS": devices}
    if len(slot.devices) == 1:
        # One process per chip: libtpu must not look for neighbours.
        pins |= {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
    return pins


_THREAD_VARIABLES = (
    "PJRT_NPROC",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def _kind(host: Host, accelerator: str) -> Accelerator:
    if accelerator == "auto":
        return (
            Accelerator.GPU if host.gpus else Accelerator.TPU if host.tpu_chips else Accelerator.CPU
        )
    kind = Accelerator(accelerator)
    if kind is Accelerator.GPU and not host.gpus:
        raise AcceleratorError("no NVIDIA GPU was found: nvidia-smi is missing or lists none")
    if kind is Accelerator.TPU and not host.tpu_chips:
        raise AcceleratorError("no TPU chip was found among the PCI devices")
    return kind


def _shares(items: Sequence[int], count: int) -> list[tuple[int, ...]]:
    width = len(items) // count
    return [tuple(items[i * width : (i + 1) * width]) for i in range(count)]


def memory_by_slot(slots: Iterable[Slot]) -> dict[str, int]:
    """Return the memory in MiB that each slot's GPUs currently use; 0 for other slots.

    Raises:
        AcceleratorError: ``nvidia-smi`` does not report it.
    """
    return {
        slot.id: memory_mib(slot.devices) if slot.accelerator is Accelerator.GPU else 0
        for slot in slots
    }


def memory_mib(devices: Sequence[int]) -> int:
    """Return the memory in MiB that GPUs use together.

    Raises:
        AcceleratorError: ``nvidia-smi`` does not report it.
    """
    query = [f"--id={','.join(map(str, devices))}", "--query-gpu=memory.used"]
    return sum(_ask_nvidia_smi([*query, "--format=csv,noheader,nounits"]))


def _gpus() -> tuple[int, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    return tuple(_ask_nvidia_smi(["--query-gpu=index", "--format=csv,noheader"]))


def _ask_nvidia_smi(query: list[str]) -> list[int]:
    """Return a number per GPU; none on a host with a driver but without a GPU."""
    try:
        process = subprocess.run(
            ["nvidia-smi", *query],
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_SECONDS,
            check=True,
        )
        return [int(line) for line in process.stdout.split()]
    except subprocess.CalledProcessError as error:
        detail = (error.stdout + error.stderr).strip()
        if "No devices were found" in detail:
            return []
        raise AcceleratorError(f"nvidia-smi failed: {detail or error}") from error
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        raise AcceleratorError(f"nvidia-smi gave no usable answer: {error}") from error


def _tpu_chips(pci_folder: Path) -> tuple[int, ...]:
    """Return the indices of TPU chips, found among the PCI devices by vendor and model.

    The vendor alone is not enough: GCE's network cards have the same one.
    """
    count = 0
    for device in pci_folder.glob("*"):
        try:
            vendor = (device / "vendor").read_text().strip()
            model = (device / "device").read_text().strip()
        except OSError:
            continue  # unplugged, or hidden from this container
        count += vendor == _GOOGLE_VENDOR and model in _TPU_MODELS
    return tuple(range(count))


_GOOGLE_VENDOR = "0x1ae0"
_TPU_MODELS = {"0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"}
"""PCI device ids of TPU v2 to v7, as in jax/_src/hardware_utils.py of jax 0.10."""
