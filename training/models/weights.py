"""Weights in one safetensors file, or in several with an index, as on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tailrace.formats.canonical import sha256_file, sha256_json
from tailrace.formats.model.families.family import OUTPUT_LAYER
from tailrace.formats.model.files import size_problem
from tailrace.formats.model.folder import lacks, weight_places
from tailrace.formats.model.safetensors_header import (
    PREFIX_BYTES,
    Entry,
    header_length,
    read_header,
)
from tailrace.formats.model.tensors import (
    TIED_PROBLEM,
    parameter_name,
    tensor_problems,
    tied_pair,
)
from tailrace.formats.outside_json import read_object
from training.errors import ModelConfigError, ModelNotFoundError
from training.machine.file_errors import as_os_errors
from training.models.family import Model, Params

WEIGHTS = "model.safetensors"
"""File name of weights in one file."""

INDEX = "model.safetensors.index.json"
"""File name of the index of several files: tensor name to file name."""

MAX_SHARD_BYTES = 5_000_000_000
"""Largest size of a weight file in bytes; larger weights are split."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN = 5
_COMPARED_BYTES = 1 << 20


def list_weights(folder: Path) -> list[Path]:
    """Return the weight files of a model folder, sorted by name.

    Raises:
        ModelNotFoundError: There are none, or some are missing.
        ModelConfigError: The weights are pickled, or the index is wrong.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        files = sorted({folder / name for name in _read_index(folder / INDEX).values()})
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise ModelNotFoundError(f"{folder} lacks weight files: {', '.join(missing)}")
        return files
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ModelConfigError(
            f"{folder} holds weights in a pickle format ({', '.join(pickled[:_SHOWN])}), which is "
            "never opened: unpickling runs whatever code the file contains. Save the model as "
            "safetensors where you trust it (transformers: model.save_pretrained(folder))"
        )
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    problems = [problem for problem in lacks(names) if "weights" in problem or "adapter" in problem]
    raise ModelNotFoundError(f"{folder} has no weights: {'; '.join(problems)}")


def read_weights(folder: Path, model: Model) -> Params:
    """Return the parameters of ``model`` as float32, from any stored float type.

    With several files, the index decides from which one a tensor is read.

    Raises:
        ModelNotFoundError: As :func:`list_weights`.
        ModelConfigError: Files are damaged, tensors do not fit the configuration (the message
            lists them with their shapes), or values are not finite.
    """
    files = list_weights(folder)
    family = model.family
    places = _places(folder, files)
    tensors = {name: entry.tensor for name, (_, entry, _) in places.items()}
    problems = tensor_problems(family, model.stored_shapes, tensors)
    if problems:
        raise ModelConfigError(f"{folder}: the weights do not fit config.json: {problems}")
    pair = tied_pair(family, model.shapes, tensors)
    if pair is not None and not _same_bytes(*(places[name] for name in pair)):
        raise ModelConfigError(f"{folder}: {TIED_PROBLEM}")
    params: Params = {}
    for path in files:
        names = [name for name, (place, _, _) in places.items() if place == path]
        params |= _read_file(path, names, model)
    for name, rows in family.stacks(model.config).items():
        params[name] = jnp.stack([params.pop(row) for row in rows])
    return dict(sorted(params.items()))


def write_weights(
    folder: Path, params: Mapping[str, Any], max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write one file, or several with an index above ``max_shard_bytes``.

    Equal parameters give equal bytes. Weights of an earlier save are removed. Raises
    :class:`OSError`.
    """
    for path in folder.iterdir():
        if path.name in (WEIGHTS, INDEX) or _SHARD.fullmatch(path.name):
            path.unlink()
    shards = list(_shards(params, max_shard_bytes))
    if len(shards) == 1:
        _write_file(folder / WEIGHTS, params, shards[0])
        return
    places: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / file, params, names)
        places.update(dict.fromkeys(names, file))
    size = sum(value.nbytes for value in params.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")


def stored_types(folder: Path, model: Model) -> dict[str, str]:
    """Return the stored type of each parameter by its safetensors name (``BF16``).

    Errors as :func:`list_weights`.
    """
    family, shapes, parts = model.family, model.stored_shapes, model.parts
    types = {}
    for stored, (_, entry, _) in _places(folder, list_weights(folder)).items():
        name = parameter_name(stored, shapes, family)
        if name == OUTPUT_LAYER and name not in shapes:
            name = family.embedding
        types[parts[name][0] if name in parts else name] = entry.tensor.dtype
    return {name: types[name] for name in model.shapes}


def weights_digest(folder: Path) -> str:
    """Return the sha256 of the weight file, or of the canonical JSON of all files' sha256.

    Errors as :func:`list_weights`.
    """
    digests = {path.name: sha256_file(path) for path in list_weights(folder)}
    return digests[WEIGHTS] if set(digests) == {WEIGHTS} else sha256_json(digests)


_Place = tuple[Path, Entry, int]
"""Stored tensor: its file, its header entry, and the offset of the file's first tensor."""


def _places(folder: Path, files: list[Path]) -> dict[str, _Place]:
    """Return the place of each loaded tensor, by its stored name."""
    places: dict[str, _Place] = {}
    indexed = _read_index(folder / INDEX) if files != [folder / WEIGHTS] else None
    for path in files:
        entries, start = _read_header(path)
        for name, entry in entries.items():
            if indexed is None or indexed.get(name) == path.name:
                places[name] = (path, entry, start)
    missing = sorted(set(indexed or ()) - set(places))
    if missing:
        wrong = ", ".join(f"{name} in {(indexed or {})[name]}" for name in missing[:_SHOWN])
        raise ModelConfigError(f"{folder / INDEX} places tensors in files without them: {wrong}")
    return places


def _read_header(path: Path) -> tuple[dict[str, Entry], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            length = header_length(file.read(PREFIX_BYTES), size)
            return read_header(file.read(length), size), PREFIX_BYTES + length
        except ValueError as error:
            raise ModelConfigError(f"{path} {error}") from error


def _read_file(path: Path, names: list[str], model: Model) -> Params:
    """Read the parameters of one file, by their names in the model."""
    family = model.family
    params: Params = {}
    shapes = model.stored_shapes
    try:
        # numpy lacks bfloat16, so tensors are read as JAX arrays and widened.
        with as_os_errors(path), safe_open(str(path), framework="flax") as file:
            for stored in names:
                name = parameter_name(stored, shapes, family)
                if name == OUTPUT_LAYER and name not in shapes:
                    name = family.embedding
                if name in shapes:
                    params[name] = _finite(path, stored, file.get_tensor(stored))
    except SafetensorError as error:
        raise ModelConfigError(
            f"{path} is damaged or not a safetensors file ({error}): fetch it again"
        ) from error
    return params


def _finite(path: Path, name: str, stored: jax.Array) -> jax.Array:
    """Return a tensor as float32. Raises :class:`ModelConfigError` unless all values are finite."""
    value = stored.astype(jnp.float32)
    if bool(jnp.isfinite(value).all()):
        return value
    bad = ~np.isfinite(np.asarray(value))
    first = [int(index) for index in np.argwhere(bad)[0]]
    raise ModelConfigError(
        f"{path}: {name} holds {int(bad.sum())} values of {bad.size} that are NaN or infinite, the "
        f"first at {first}: the model is damaged; take an earlier checkpoint, or fetch it again"
    )


def _same_bytes(first: _Place, second: _Place) -> bool:
    """Return True if two stored tensors have equal bytes; reads a part of each at a time."""
    if first[1].tensor.dtype != second[1].tensor.dtype:
        return False
    with first[0].open("rb") as one, second[0].open("rb") as other:
        for file, (_, entry, start) in ((one, first), (other, second)):
            file.seek(start + entry.start)
        rest = first[1].end - first[1].start
        while rest > 0:
            size = min(rest, _COMPARED_BYTES)
            if one.read(size) != other.read(size):
                return False
            rest -= size
    return True


def _read_index(path: Path) -> dict[str, str]:
    problem = size_problem(path.name, path.stat().st_size)
    try:
        if problem:
            raise ValueError(problem)
        return weight_places(read_object(path.read_bytes()))
    except ValueError as error:
        raise ModelConfigError(f"{path} {error}") from error


def _shards(params: Mapping[str, Any], limit: int) -> Iterator[list[str]]:
    """Yield the tensor names of each file, in sorted order."""
    names: list[str] = []
    size = 0
    for name, value in sorted(params.items()):
        if names and size + value.nbytes > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += value.nbytes
    yield names


def _write_file(path: Path, params: Mapping[str, Any], names: list[str]) -> None:
    tensors = {name: np.ascontiguousarray(params[name]) for name in names}
    with as_os_errors(path):
        save_file(tensors, str(path), metadata={"format": "pt"})
    # The library makes the file readable by its owner only, unlike the folder's other files.
    path.chmod(path.parent.stat().st_mode & 0o666)
