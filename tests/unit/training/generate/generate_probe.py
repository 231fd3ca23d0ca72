"""Generates on eight virtual devices, alone and shared; prints what came out as JSON.

A program of its own because the number of devices is settled when JAX starts.
"""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np

from tailrace.formats.spec.run_spec import MeshSpec
from tests.unit.training.machine.mesh_probe import CONFIGS
from training.generate.generator import Generator
from training.generate.placement import generation_layout
from training.generate.sampling import Sampling
from training.models.registry import model_from_config

MESH = MeshSpec(fsdp=2, tensor=2)


def main() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    prompts = [generator.integers(1, 50, 3 + n).tolist() for n in range(11)]
    sampling = Sampling(max_new_tokens=6, temperature=0.8, top_p=0.9, logprobs=True)
    seen: dict[str, Any] = {}
    for family, config in CONFIGS.items():
        model = model_from_config(config)
        params = model.init(0)
        for name, layout in {"one": None, "all": generation_layout(model, MESH)}.items():
            made = [
                (each.index, each.tokens, each.logprobs)
                for part in Generator(model, params, {0}, layout=layout).generate(
                    prompts, sampling, batch_size=6
                )
                for each in part
            ]
            seen[f"{family}/{name}"] = sorted(made)
            if layout is not None:
                seen[f"{family}/mesh"] = layout.name
    return seen


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201
