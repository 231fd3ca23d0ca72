"""Saves a merged adapter on 200 MB of weights, on one and on eight devices; prints memory as JSON.

A separate program for the reasons of ``load_probe.py``. Argument: an empty folder.
"""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from tests.unit.training.models.load_probe import CONFIG, layout, peak, resident, write  # isort: skip

import jax.numpy as jnp
import numpy as np

from tailrace.formats.spec.run_spec import LoraSpec, MeshSpec
from training.loop.lora import LoraAdapter
from training.machine.sharding import Layout
from training.models.family import LazyParams, Model, ParamsMapping
from training.models.folder import save_model
from training.models.registry import model_from_config
from training.models.stored_weights import StoredWeights


def merged(model: Model, weights: StoredWeights, places: Layout) -> ParamsMapping:
    """Return the base with an adapter of ones, tensor by tensor."""
    adapter = LoraAdapter(model, LoraSpec(rank=4), jnp.bfloat16, seed=0)
    trained = places.place({name: jnp.ones_like(value) for name, value in adapter.fresh().items()})
    return adapter.merge(trained, LazyParams(list(model.shapes), weights.array))


def main(folder: Path) -> dict[str, Any]:
    """Return the figures."""
    model = model_from_config(CONFIG)
    write(folder, model.shapes)
    sizes = {name: 4 * math.prod(shape) for name, shape in model.shapes.items()}
    weights = StoredWeights(folder, model)
    dtypes = dict.fromkeys(model.shapes, jnp.bfloat16)
    values = merged(model, weights, layout(MeshSpec()))
    for name in model.shapes:
        if ".0." in name:
            # The compiler's memory is that of a first product, whatever its size.
            np.asarray(values[name])
    # The peak of this process begins anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    save_model(folder / "one", model, values, 0, dtypes=dtypes)
    grown = peak() - before
    tracemalloc.start()
    values = merged(model, weights, layout(MeshSpec(fsdp=8)))
    save_model(folder / "eight", model, values, 0, max_shard_bytes=50_000_000, dtypes=dtypes)
    host_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    saved = [StoredWeights(folder / name, model) for name in ("one", "eight")]
    return {
        "weights": sum(sizes.values()),
        "largest": max(sizes.values()),
        "grown": grown,
        "host_peak": host_peak,
        "files": len(list((folder / "eight").glob("*.safetensors"))),
        "differing": [
            name
            for (name, one), (_, eight) in zip(*(stored.arrays() for stored in saved), strict=True)
            if not np.array_equal(one, eight)
        ],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
