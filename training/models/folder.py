"""Model folders in Hugging Face layout: config.json and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tailrace.formats.model.check import check_weights, read_folder
from tailrace.formats.model.config import end_token_ids
from tailrace.formats.model.files import GENERATION_FILE as GENERATION_CONFIG
from tailrace.formats.model.files import size_problem
from tailrace.formats.model.folder import CONFIG_FILE as CONFIG
from tailrace.formats.model.folder import lacks
from tailrace.formats.outside_json import read_object
from training.errors import ModelConfigError, ModelNotFoundError
from training.models.adapter_folder import read_adapter
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.stored_weights import StoredWeights
from training.models.weight_writer import MAX_SHARD_BYTES, write_model
from training.models.weights import WEIGHTS, list_weights, weights_digest

__all__ = [
    "CONFIG",
    "GENERATION_CONFIG",
    "WEIGHTS",
    "load_model",
    "open_model",
    "read_config",
    "save_model",
    "weights_digest",
]

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Keys of config.json that name special tokens."""


def open_model(folder: Path, *, merge: bool = True) -> tuple[Model, StoredWeights]:
    """Return the model of a folder, and its weights, which are not loaded yet.

    An imported adapter in the folder is merged into the weights, or without ``merge`` continued:
    see :attr:`training.models.stored_weights.Weights.adapter`.

    Raises:
        ModelNotFoundError: A file is missing.
        ModelConfigError: The architecture is not supported, weights are pickled or damaged, or
            they do not fit the configuration.
    """
    config = read_config(folder)
    list_weights(folder)
    _require_sound(folder)
    model = model_from_config(config)
    adapter = read_adapter(folder, model)
    if adapter is None:
        return model, StoredWeights(folder, model)
    if merge:
        return model, StoredWeights(folder, model, adapter.updates())
    return model, StoredWeights(folder, model, adapter=adapter.matrices)


def load_model(folder: Path) -> tuple[Model, Params]:
    """Return the model of a folder with its weights as float32 on one device.

    Errors as :func:`open_model` and :meth:`training.models.stored_weights.StoredWeights.load`.
    """
    model, weights = open_model(folder)
    return model, weights.load()


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model folder; errors as :func:`load_model`."""
    try:
        return _read_object(folder / CONFIG)
    except FileNotFoundError as error:
        problem = "; ".join(lacks(_names(folder)))
        raise ModelNotFoundError(f"{folder} is not a model folder: {problem}") from error


def end_tokens(folder: Path) -> frozenset[int]:
    """Return all tokens that a folder's files name as ends of an answer.

    Chat models often name several, and different ones in generation_config.json and config.json.
    Raises :class:`training.errors.ModelConfigError`.
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
    """Return the tokens of ``eos_token_id`` in a configuration: one, several or none.

    Raises :class:`training.errors.ModelConfigError`.
    """
    try:
        return end_token_ids(value)
    except ValueError as error:
        raise ModelConfigError(str(error)) from error


def _require_sound(folder: Path) -> None:
    """Raise for the problems of configuration and weights that an import would refuse."""
    try:
        problems = check_weights(read_folder(folder)).problems
    except ValueError as error:
        raise ModelConfigError(f"{folder}: {error}") from error
    if problems:
        raise ModelConfigError(
            f"{folder}: "
            + "; ".join(f"{name or ''} {problem}".strip() for name, problem in problems)
        )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        problem = size_problem(path.name, path.stat().st_size)
        if problem:
            raise ValueError(problem)
        return read_object(path.read_bytes())
    except ValueError as error:
        raise ModelConfigError(f"{path} {error}") from error


def save_model(
    folder: Path,
    model: Model,
    params: Mapping[str, Any],
    eos_token_id: int,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    facts: Mapping[str, Any] | None = None,
    dtypes: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json and the weights so that transformers opens the folder.

    ``facts`` are the keys of config.json for token ids and dtype (default: ``eos_token_id`` and
    float32). Equal parameters give equal bytes. ``params``, ``dtypes`` and errors are as in
    :func:`training.models.weight_writer.write_model`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = model.family.dump_config(model.config)
    if facts is None:
        # Token ids of the family's configuration override the default.
        config = {"bos_token_id": eos_token_id, **config}
        config |= {"eos_token_id": eos_token_id, "dtype": "float32"}
    else:
        architecture = {name: value for name, value in config.items() if name not in _TOKENS}
        config = {**architecture, **facts}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    write_model(folder, model, params, dtypes, max_shard_bytes)
