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
from tests.unit.training.serving.conftest import Received
from training.generate.generator import Generator
from training.generate.placement import generation_layout
from training.generate.sampling import Sampling
from training.models.registry import model_from_config
from training.serving.engine import Engine
from training.serving.programs import RowPrograms
from training.serving.running import STEPS
from training.serving.shapes import Shapes, compile_all

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
    seen["served"] = served("llama", prompts)
    return seen


def served(family: str, prompts: list[list[int]]) -> dict[str, list[list[int]]]:
    """Return the tokens of an engine on all devices, and those of the generator on one."""
    model = model_from_config(CONFIGS[family])
    params, layout = model.init(0), generation_layout(model, MESH)
    assert layout is not None
    settings: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.8, "seed": 3}
    numbers = [0] * len(prompts)
    parts = Generator(model, params, {0}).generate(
        prompts, Sampling(**settings), 6, numbers=numbers
    )
    alone = sorted((each.index, each.tokens) for part in parts for each in part)
    shapes = Shapes.of(model, 6, None, layout.row_parts)
    programs = RowPrograms(model, {0}, STEPS, layout)
    split = layout.put(params)
    compile_all(programs, split, shapes)
    engine = Engine(programs, split, frozenset({0}), shapes, places=20)
    jobs = [Received(prompt, **settings) for prompt in prompts]
    for received in jobs:
        engine.submit([received.job])
    engine.start()
    shared = [received.tokens() for received in jobs]
    engine.close("the probe has ended")
    return {"one": [tokens for _, tokens in alone], "all": shared}


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201
