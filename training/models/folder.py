"""Model folders in Hugging Face layout: config.json and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
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

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Keys of config.json that name special tokens."""

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
    """Return the tokens that end an answer of a folder's model: all that its files name.

    Models that chat often name several, and not the same ones in generation_config.json and
    config.json. Raises :class:`training.errors.ModelConfigError`.
    """
    ends: set[int] = set()
    for name in (GENERATION_CONFIG, CONFIG):
        if (folder / name).is_file():
            try:
                ends.update(named_ends(_read_object(folder / name).get("eos_token_id")))
            except ModelConfigError as error:
                raise ModelConfigError(f"{folder / name}: {error}") from error
    return frozenset(ends)


def named_ends(value: Any) -> list[int]:
    """Return the tokens that ``eos_token_id`` of a configuration names: one, several or none.

    Raises :class:`training.errors.ModelConfigError`.
    """
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(id_) is int for id_ in ids):
        raise ModelConfigError(f"eos_token_id {value!r} is neither a token id nor a list")
    return ids


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
    params: Mapping[str, Any],
    eos_token_id: int,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json and the weights so that transformers opens the folder.

    ``facts`` are what config.json says of token ids and type; left out, they follow from
    ``eos_token_id`` and float32. The same parameters give the same bytes. Raises :class:`OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = model.family.dump_config(model.config)
    if facts is None:
        # What a family reads of the token ids outweighs the default.
        config = {"bos_token_id": eos_token_id, **config}
        config |= {"eos_token_id": eos_token_id, "dtype": "float32"}
    else:
        kept = {name: value for name, value in config.items() if name not in _TOKENS}
        config = {**kept, **facts}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    write_weights(folder, params, max_shard_bytes)
