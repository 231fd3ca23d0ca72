"""What is generated: for which prompts, how much, with which model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.training.shapes import SHAPES
from training.models.folder import save_model
from training.models.registry import model_from_config

VOCABULARY = 384
"""Prompts hold tokens that every model knows."""


@dataclass(frozen=True)
class Workload:
    """Prompts with the number of tokens that each is answered by; no answer ends earlier."""

    prompts: list[list[int]]
    answers: list[int]
    batch_size: int
    """Prompts at a time here; the peer takes all as one padded batch."""

    @property
    def tokens(self) -> int:
        """Tokens that are generated, padding not counted."""
        return sum(self.answers)


def even() -> Workload:
    """25 prompts of 24 tokens, 50 new tokens each."""
    prompts = np.random.default_rng(0).integers(1, VOCABULARY, (25, 24)).tolist()
    return Workload(prompts, [50] * 25, 25)


def mixed() -> Workload:
    """64 prompts of 5 to 200 tokens, answered by 5 to 200 tokens."""
    generator = np.random.default_rng(0)
    lengths, answers = (generator.permutation(np.linspace(5, 200, 64).round()) for _ in range(2))
    prompts = [generator.integers(1, VOCABULARY, int(length)).tolist() for length in lengths]
    return Workload(prompts, [int(count) for count in answers], 32)


WORKLOADS = {"even": even, "mixed": mixed}
"""By name."""


def write_model(shape: str, folder: Path) -> None:
    """Write a model folder of random weights, which both sides open."""
    # The longest prompt and answer must fit.
    config = {**SHAPES[shape].config}
    if "n_positions" in config:
        config["n_positions"] = 1024
    model = model_from_config(config)
    save_model(folder, model, model.init(0), eos_token_id=0)
