"""The model families and presets this library knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config import family_problem
from training.errors import ModelConfigError
from training.models import gpt2, llama, mistral, qwen2, qwen3
from training.models.family import Family, Model

FAMILIES: dict[str, Family] = {
    module.FAMILY.model_type: module.FAMILY for module in (gpt2, llama, mistral, qwen2, qwen3)
}
"""By ``model_type``."""

GPT2_NANO_VOCABULARY = 384
"""Tokens of the ``gpt2-nano`` preset: 256 bytes, end of text, and 127 merges."""


def model_from_config(data: Mapping[str, Any]) -> Model:
    """The model that a Hugging Face ``config.json`` describes.

    Raises :class:`training.errors.ModelConfigError` for an unknown architecture, listing the known
    ones, and for settings that the architecture's implementation does not support.
    """
    problem = family_problem(data)
    if problem:
        raise ModelConfigError(f"config.json: {problem}")
    family = FAMILIES[data["model_type"]]
    return Model(family, family.parse_config(data))


def preset_config(name: str, vocabulary: int) -> dict[str, Any]:
    """The ``config.json`` of a preset whose tokenizer has ``vocabulary`` tokens.

    Raises :class:`training.errors.ModelConfigError` for an unknown preset, listing the known ones.
    """
    if name not in PRESETS:
        raise ModelConfigError(f"there is no preset {name!r}; known: {', '.join(PRESETS)}")
    return {**PRESETS[name], "vocab_size": vocabulary}


PRESETS: dict[str, dict[str, Any]] = {
    "gpt2-nano": {
        "model_type": "gpt2",
        "n_positions": 256,
        "n_embd": 128,
        "n_layer": 4,
        "n_head": 4,
        # A model this small does not overfit by chance but on purpose: it shall memorise.
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    },
}
"""By name: the parts of ``config.json`` that the preset fixes."""

PRESET_VOCABULARY: dict[str, int] = {"gpt2-nano": GPT2_NANO_VOCABULARY}
"""By preset: how many tokens its tokenizer is trained to, at most."""
