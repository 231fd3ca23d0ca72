"""The adapters that PEFT wrote, as adapters here."""

from __future__ import annotations

import json

import jax.numpy as jnp
from safetensors.numpy import load_file

from tailrace.formats.spec.run_spec import LoraSpec
from tests.parity.cases import ADAPTERS, GOLDENS
from training.loop.lora import LoraAdapter
from training.models.family import Params
from training.models.folder import load_model

TOLERANCE = 2e-6
"""Largest difference of logits, as a share of the largest logit."""

_PREFIX = "base_model.model."


def load_adapter(name: str) -> tuple[LoraAdapter, Params, Params]:
    """Return the adapter of a case, and the trained and the base model's values."""
    model, params = load_model(GOLDENS / name)
    config = json.loads((ADAPTERS / name / "adapter_config.json").read_text())
    spec = LoraSpec(
        rank=config["r"], alpha=config["lora_alpha"], target_modules=config["target_modules"]
    )
    stored = load_file(ADAPTERS / name / "adapter_model.safetensors")
    trained = {n.removeprefix(_PREFIX): jnp.asarray(v) for n, v in sorted(stored.items())}
    return LoraAdapter(model, spec, jnp.float32, seed=0), trained, params
