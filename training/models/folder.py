"""Model folders in Hugging Face layout: config.json and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.accelerators import require_room
from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.weights import (
    MAX_SHARD_BYTES,
    WEIGHTS,
    read_weights,
    weights_digest,
    write_weights,
)

__all__ = ["CONFIG", "WEIGHTS", "load_model", "read_config", "save_model", "weights_digest"]

CONFIG = "config.json"
"""The configuration's file name."""

GENERATION_CONFIG = "generation_config.json"
"""The file that says how a model is asked; not every folder has one."""


def load_model(folder: Path) -> tuple[Model, Params]:
    """Read a model folder; weights of any float type come back as float32.

    Raises :class:`training.errors.ModelNotFoundError` when a file is missing and
    :class:`training.errors.ModelConfigError` for an unsupported architecture, pickled or damaged
    weights, and weights that do not fit the configuration;
    :class:`training.errors.DoesNotFitError` when there is not enough memory.
    """
    model = model_from_config(read_config(folder))
    require_room(4 * model.parameters, f"the weights of {folder}, {model.parameters:,} values,")
    return model, read_weights(folder, model)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder; errors as :func:`load_model`."""
    try:
        return _read_object(folder / CONFIG)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"{folder} is no model folder: it has no {CONFIG}") from error


def end_tokens(folder: Path) -> frozenset[int]:
    """The tokens that end what the model of a folder says.

    As in transformers, those of generation_config.json outweigh those of config.json; models that
    chat often name several. Raises :class:`training.errors.ModelConfigError`.
    """
    named: Any = None
    for name in (GENERATION_CONFIG, CONFIG):
        if named is None and (folder / name).is_file():
            named = _read_object(folder / name).get("eos_token_id")
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(type(each) is int for each in ids):
        raise ModelConfigError(f"{folder}: eos_token_id {named!r} is neither a token id nor a list")
    return frozenset(ids)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelConfigError(f"{path} must hold an object")
    return config


def save_model(
    folder: Path,
    model: Model,
    params: Params,
    eos_token_id: int,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write config.json and the weights so that transformers opens the folder.

    The same parameters give the same bytes. Raises :class:`OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        # What a family reads of the token ids outweighs the default.
        "bos_token_id": eos_token_id,
        **model.family.dump_config(model.config),
        "eos_token_id": eos_token_id,
        "dtype": "float32",
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    write_weights(folder, params, max_shard_bytes)
