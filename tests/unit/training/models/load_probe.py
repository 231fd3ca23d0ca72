"""Loads 200 MB of weights on one and on eight virtual devices; prints the memory as JSON.

A separate program, because peaks belong to a process and the number of devices is fixed when JAX
starts. Argument: an empty folder.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import tracemalloc
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from tailrace.formats.spec.run_spec import MeshSpec
from training.machine.sharding import Layout, make_mesh
from training.models.registry import model_from_config
from training.models.stored_weights import StoredWeights

CONFIG = {
    "model_type": "llama",
    "vocab_size": 16384,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
}
SPLIT = "model.embed_tokens.weight"
"""Parameter whose rows are split over the axis tensor."""


def write(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write random float32 weights tensor by tensor, so that the peak stays low."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    generator = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            row = generator.standard_normal(math.prod(shape[1:]), np.float32)
            for number in range(shape[0]):
                file.write((row * np.float32(1 + number)).tobytes())


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the largest number of bytes of this process that were in memory.

    The peak of getrusage(2) includes that of the process which started this one.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024


def layout(spec: MeshSpec) -> Layout:
    """Return the layout of a mesh of the first devices."""
    devices = jax.devices()[: spec.fsdp * spec.tensor]
    return Layout.of("llama", make_mesh(spec, len(devices), devices))


def main(folder: Path) -> dict[str, Any]:
    """Return the figures."""
    model = model_from_config(CONFIG)
    write(folder, model.shapes)
    sizes = {name: 4 * math.prod(shape) for name, shape in model.shapes.items()}
    weights = StoredWeights(folder, model)
    before = resident()
    whole = weights.load(layout(MeshSpec()))
    grown = peak() - before
    tracemalloc.start()
    places = layout(MeshSpec(fsdp=8))
    parts = weights.load(places)
    host_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    by_rows = weights.tensor(SPLIT, layout(MeshSpec(tensor=8)), np.dtype(np.float32))
    row_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "devices": len(jax.devices()),
        "weights": sum(sizes.values()),
        "largest": max(sizes.values()),
        "split": sizes[SPLIT],
        "grown": grown,
        "host_peak": host_peak,
        "row_peak": row_peak,
        "rows": by_rows.addressable_shards[0].data.shape[0],
        "parts": {n: v.size // v.addressable_shards[0].data.size for n, v in parts.items()},
        "differing": [
            name
            for name, value in parts.items()
            if value.sharding != places.parameter(name, value.shape)
            or not np.array_equal(np.asarray(value), np.asarray(whole[name]))
        ],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
