"""The models and batches of the benchmarks, with random weights, so that nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.families.configs import CONFIGS
from training.random_gpt2 import DISTILGPT2

LENGTH = 128
"""Tokens of a row."""


@dataclass(frozen=True)
class Shape:
    """A model with its batch size and steps per call."""

    config: dict[str, Any]
    """``config.json``."""
    rows: int
    """Rows of a step."""
    steps: int
    """Steps of a compiled call."""


SHAPES: dict[str, Shape] = {
    "distilgpt2": Shape({**DISTILGPT2, "vocab_size": 50257}, rows=4, steps=5),
    "smollm2-135m": Shape(
        {
            "model_type": "llama",
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_theta": 100000.0,
            "tie_word_embeddings": True,
        },
        rows=4,
        steps=2,
    ),
    "4x128": Shape(
        {
            "model_type": "gpt2",
            "vocab_size": 384,
            "n_positions": 256,
            "n_embd": 128,
            "n_layer": 4,
            "n_head": 4,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
        },
        rows=4,
        steps=10,
    ),
    **{name: Shape(config, rows=4, steps=5) for name, config in CONFIGS.items()},
}
"""Shapes by their name in the table; families by their model_type."""
