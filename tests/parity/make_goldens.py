"""Make what test_families.py and test_rotary.py compare with; needs PyTorch, the tests do not.

Run ``python -m tests.parity.make_goldens`` where torch and transformers are installed. For each
case it writes the model as transformers saves it, and what PyTorch computes with it.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tests.parity.cases import BALANCED, CASES, GOLDENS, SAMPLINGS, VOCABULARY
from tests.parity.tiny_models import balanced, make_model, reference

SHARDED = "llama"
"""The case whose weights are in several files."""

SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 4.0},
    "llama3": {
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32768},
    "yarn-tuned": {
        "factor": 8.0,
        "original_max_position_embeddings": 4096,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
        "attention_factor": 1.25,
    },
    "yarn-weighted": {
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "mscale": 0.7,
        "mscale_all_dim": 1.0,
        "truncate": False,
    },
    "longrope": {
        "original_max_position_embeddings": 4096,
        "short_factor": [1.0 + channel / 40 for channel in range(32)],
        "long_factor": [1.0 + channel * channel / 20 for channel in range(32)],
    },
}

LENGTHS: dict[str, tuple[int, ...]] = {"dynamic": (140_000, 500_000), "longrope": (5000,)}
"""Lengths of sequences beyond the original context, of scalings that depend on it."""


def main() -> None:
    """Write goldens/."""
    shutil.rmtree(GOLDENS, ignore_errors=True)
    for case in CASES:
        folder = GOLDENS / case
        model = make_model(case, seed=0)
        model.save_pretrained(folder, max_shard_size="12KB" if case == SHARDED else "1GB")
        (folder / "generation_config.json").unlink()
        save_file(reference(model), folder / "expected.safetensors")
        if case in BALANCED:
            save_file(balanced(model), folder / "balanced.safetensors")
    save_file(sampling(), GOLDENS / "sampling.safetensors")
    (GOLDENS / "rotary.json").write_text(json.dumps(rotary(), indent=1) + "\n", encoding="utf-8")


def sampling() -> dict[str, torch.Tensor]:
    """Scores after the processors that transformers puts together for each of SAMPLINGS."""
    torch.manual_seed(0)
    tokens = torch.randint(0, VOCABULARY, (6, 9))
    logits = 3 * torch.randn(6, VOCABULARY)
    found = {"tokens": tokens, "logits": logits}
    for name, settings in SAMPLINGS.items():
        processors = LogitsProcessorList()
        if "repetition_penalty" in settings:
            processors.append(RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
        if "temperature" in settings:
            processors.append(TemperatureLogitsWarper(settings["temperature"]))
        if "top_k" in settings:
            processors.append(TopKLogitsWarper(int(settings["top_k"])))
        if "top_p" in settings:
            processors.append(TopPLogitsWarper(settings["top_p"]))
        found[f"scores.{name}"] = processors(tokens, logits.clone()).contiguous()
    return found


def rotary() -> list[dict[str, Any]]:
    """Frequencies and magnitude of each kind of scaling."""
    found = []
    for name, settings in SCALINGS.items():
        kind = name.partition("-")[0]
        shape: dict[str, Any] = {
            "hidden_size": 256,
            "num_attention_heads": 4,
            "max_position_embeddings": 131072,
            "rope_parameters": {"rope_type": kind, "rope_theta": 500000.0, **settings},
        }
        initialize = ROPE_INIT_FUNCTIONS[kind]
        config, device = LlamaConfig(**shape), torch.device("cpu")
        frequencies, magnitude = initialize(config, device)
        found.append(
            {
                "config": {**shape, "model_type": "llama"},
                "frequencies": frequencies.tolist(),
                "magnitude": float(magnitude),
                "longer": {
                    str(length): initialize(config, device, seq_len=length)[0].tolist()
                    for length in LENGTHS.get(kind, ())
                },
            }
        )
    return found


if __name__ == "__main__":
    main()
