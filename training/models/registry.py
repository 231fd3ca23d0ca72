"""Model families, their decoders and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families import FAMILIES
from training.errors import ModelConfigError
from training.models.experts.mixture import Mixture
from training.models.family import Build, Model
from training.models.gemma import Gemma
from training.models.gpt2 import Gpt2
from training.models.llama import Llama

DECODERS: dict[str, Build] = {"gpt2": Gpt2, "llama": Llama, "gemma": Gemma, "mixture": Mixture}
"""Decoders by the name under which families refer to them."""

GPT2_NANO_VOCABULARY = 384
"""Tokens of the ``gpt2-nano`` preset: 256 bytes, end of text, and 127 merges."""


def model_from_config(data: Mapping[str, Any]) -> Model:
    """Return the model that a Hugging Face ``config.json`` describes.

    Raises:
        ModelConfigError: The architecture is unknown (the message lists the known ones), or the
            configuration has values that its decoder does not support (it lists all of them).
    """
    try:
        config = read_model_config(data)
    except ValueError as error:
        raise ModelConfigError(f"config.json: {error}") from error
    family = FAMILIES[data["model_type"]]
    return Model(family, config, DECODERS[family.decoder])


def preset_config(name: str, vocabulary: int) -> dict[str, Any]:
    """Return the ``config.json`` of a preset whose tokenizer has ``vocabulary`` tokens.

    Raises:
        ModelConfigError: The preset is unknown; the message lists the known ones.
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
        # A model this small is meant to memorise its data.
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    },
}
"""Keys of ``config.json`` that each preset fixes."""

PRESET_VOCABULARY: dict[str, int] = {"gpt2-nano": GPT2_NANO_VOCABULARY}
"""Largest vocabulary that each preset's tokenizer is trained to."""
