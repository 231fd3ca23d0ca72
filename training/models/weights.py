"""Weights in safetensors files: one, or several with an index, as on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tailrace.formats.canonical import sha256_file, sha256_json
from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params

WEIGHTS = "model.safetensors"
"""The file name of weights in one file."""

INDEX = "model.safetensors.index.json"
"""The index of weights in several files: tensor name to file name."""

MAX_SHARD_BYTES = 5_000_000_000
"""Weights above this size are written to several files, each at most this large."""

OUTPUT_LAYER = "lm_head.weight"
"""Tensor name of the output layer in all families."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN = 5


def list_weights(folder: Path) -> list[Path]:
    """The weight files of a model folder, sorted by name.

    Raises :class:`training.errors.ModelNotFoundError` when there are none or some are missing, and
    :class:`training.errors.ModelConfigError` for pickled weights and a wrong index.
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
    raise ModelNotFoundError(
        f"{folder} has no weights ({WEIGHTS} or {INDEX}); others are neither fetched nor opened"
    )


def read_weights(folder: Path, model: Model) -> Params:
    """The parameters of ``model`` as float32, whatever float type they are stored in.

    Errors as :func:`list_weights`; :class:`training.errors.ModelConfigError` for damaged files and
    tensors that do not fit the configuration, listed with their shapes.
    """
    reading = _Reading(model)
    for path in list_weights(folder):
        try:
            # numpy lacks bfloat16, so tensors are read as JAX arrays and widened.
            with safe_open(str(path), framework="flax") as file:
                for stored in file.keys():  # noqa: SIM118 - the file is no mapping
                    reading.take(stored, file.get_tensor(stored))
        except SafetensorError as error:
            raise ModelConfigError(
                f"{path} is damaged or not a safetensors file ({error}): fetch it again"
            ) from error
    problems = reading.problems()
    if problems:
        raise ModelConfigError(f"{folder}: the weights do not fit config.json: {problems}")
    return dict(sorted(reading.params.items()))


def write_weights(
    folder: Path, params: Mapping[str, Any], max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write one file, or several with an index when there are more than ``max_shard_bytes``.

    The same parameters give the same bytes. Weights of an earlier save are removed. Raises
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


def weights_digest(folder: Path) -> str:
    """The sha256 of the weight file, or of the canonical JSON of all files' sha256 by name.

    Errors as :func:`list_weights`.
    """
    digests = {path.name: sha256_file(path) for path in list_weights(folder)}
    return digests[WEIGHTS] if set(digests) == {WEIGHTS} else sha256_json(digests)


@dataclass
class _Reading:
    """Sorts stored tensors into parameters and problems."""

    model: Model
    params: Params = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    output: jax.Array | None = None
    """A stored output layer that the configuration says is the input embedding."""

    def __post_init__(self) -> None:
        self.shapes = self.model.shapes

    def take(self, stored: str, value: jax.Array) -> None:
        """Account for one stored tensor."""
        family = self.model.family
        name = stored if stored in self.shapes else family.prefix + stored
        if name in self.shapes:
            shape = tuple(value.shape)
            if shape != self.shapes[name]:
                self.wrong.append(f"{stored} is {shape}, not {self.shapes[name]}")
            elif not jnp.issubdtype(value.dtype, jnp.floating):
                self.wrong.append(f"{stored} holds {value.dtype}, not floats")
            self.params[name] = value.astype(jnp.float32)
        elif stored == OUTPUT_LAYER:
            self.output = value
        elif not stored.endswith(family.buffers):
            self.unknown.append(f"{stored} {tuple(value.shape)}")

    def problems(self) -> str:
        """All that does not fit, in one line; empty when everything does."""
        missing = [f"{n} {s}" for n, s in self.shapes.items() if n not in self.params]
        embedding = self.params.get(self.model.family.embedding)
        if self.output is not None and embedding is not None:
            same = self.output.shape == embedding.shape and bool(
                jnp.array_equal(self.output.astype(jnp.float32), embedding)
            )
            if not same:
                self.wrong.append(
                    f"{OUTPUT_LAYER} {tuple(self.output.shape)} differs from the input embedding, "
                    "though tie_word_embeddings is true"
                )
        found = {"wrong": self.wrong, "unknown": self.unknown, "missing": missing}
        return "; ".join(_listed(kind, names) for kind, names in found.items() if names)


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} tensors: {', '.join(names[:_SHOWN])}{more}"


def _read_index(path: Path) -> dict[str, str]:
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelConfigError(f"{path} is no index of weights: it needs a weight_map") from error
    if not isinstance(places, dict) or not places:
        raise ModelConfigError(f"{path} is no index of weights: its weight_map is empty")
    for name in places.values():
        # A name from outside must not lead out of the folder.
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise ModelConfigError(f"{path}: {name!r} is not the name of a safetensors file")
    return places


def _shards(params: Mapping[str, Any], limit: int) -> Iterator[list[str]]:
    """Names of the tensors of each file, in sorted order, filled up one after the other."""
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
    save_file(tensors, str(path), metadata={"format": "pt"})
    # The library makes it readable to its owner only; the folder's other files are not.
    path.chmod(path.parent.stat().st_mode & 0o666)
