"""Weight files of a model folder, written tensor by tensor.

The places of all tensors follow from their shapes and types, so that the files get their headers
first and each tensor is written where it belongs, in any order. The bytes are those of
``safetensors.numpy.save_file``, which needs all tensors of a file at once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.model.safetensors_header import PREFIX_BYTES
from training.errors import ModelConfigError
from training.machine.file_errors import as_os_errors
from training.models.family import Model
from training.models.tensor_blocks import BLOCK_VALUES, FLOATS
from training.models.weights import INDEX, WEIGHTS

MAX_SHARD_BYTES = 5_000_000_000
"""Largest size of a weight file in bytes; larger weights are split."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_NAMES = {dtype: name for name, dtype in FLOATS.items()}
_ORDER = ("F64", "F32", "BF16", "F16")
"""Types in the order of their tensors in a file, which aligns all of them."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of a tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def kind(self) -> str:
        """The type's safetensors name."""
        return _NAMES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class WeightWriter:
    """Files of weights whose tensors are written one after another."""

    def __init__(self, files: Mapping[Path, Mapping[str, TensorSpec]]) -> None:
        """Create the files with their headers.

        Raises:
            OSError: A file cannot be written.
        """
        self._places: dict[str, tuple[Path, int, TensorSpec]] = {}
        for path, tensors in files.items():
            header, starts, end = _header(tensors)
            with as_os_errors(path), path.open("wb") as file:
                file.write(header)
                file.truncate(len(header) + end)
            for name, start in starts.items():
                self._places[name] = (path, len(header) + start, tensors[name])
        self._missing = set(self._places)

    def write(self, name: str, values: NDArray[Any]) -> bool:
        """Write a tensor in its type; return False if a value is not finite in it.

        Values are converted in blocks of a bounded size.

        Raises:
            ValueError: The shape is another one.
            OSError: The file cannot be written.
        """
        path, start, spec = self._places[name]
        if values.shape != spec.shape:
            raise ValueError(f"{name} is {values.shape}, not {spec.shape}")
        is_finite = True
        with as_os_errors(path), path.open("r+b", buffering=0) as file:
            file.seek(start)
            for block in _blocks(values, spec.dtype):
                is_finite = is_finite and bool(np.isfinite(_wide(block)).all())
                _write_all(file, block)
        self._missing.discard(name)
        return is_finite

    def close(self) -> None:
        """Require that every tensor was written. Raises :class:`ValueError`."""
        if self._missing:
            raise ValueError(f"tensors were not written: {', '.join(sorted(self._missing)[:5])}")


def write_model(
    folder: Path,
    model: Model,
    params: Mapping[str, Any],
    dtypes: Mapping[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write the weights of a model, one parameter after another.

    Equal parameters give equal bytes. Weights of an earlier save are removed.

    Args:
        folder: The model folder.
        model: The model.
        params: Its parameters, each of which is read once.
        dtypes: Type of each in the files (default: its own).
        max_shard_bytes: Size above which there are several files and an index.

    Raises:
        ModelConfigError: A value is not finite in its type; the message names the parameters.
        OSError: A file cannot be written.
    """
    types = {name: params[name].dtype for name in model.shapes} if dtypes is None else dtypes
    parts, stacks = model.parts, model.family.stacks(model.config)
    specs = {
        stored: TensorSpec(shape, np.dtype(types[parts[stored][0] if stored in parts else stored]))
        for stored, shape in model.stored_shapes.items()
    }
    writer = _create(folder, specs, max_shard_bytes)
    overflows = []
    for name in model.shapes:
        value = np.asarray(params[name])
        rows = zip(stacks[name], value, strict=True) if name in stacks else [(name, value)]
        # All rows are written, also after one that is not finite.
        finite = [writer.write(stored, row) for stored, row in rows]
        if not all(finite):
            overflows.append(name)
    writer.close()
    if overflows and dtypes is not None:
        remove_weights(folder)
        more = f" and {len(overflows) - 1} more" if len(overflows) > 1 else ""
        raise ModelConfigError(
            f"trained values are too large for the type of the source: {overflows[0]}{more}; set "
            "train.save_dtype to float32 or bfloat16"
        )


def write_weights(
    folder: Path, params: Mapping[str, Any], max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write tensors by their stored names, in their types; see :func:`write_model`."""
    values = {name: np.asarray(value) for name, value in params.items()}
    specs = {name: TensorSpec(value.shape, value.dtype) for name, value in values.items()}
    writer = _create(folder, specs, max_shard_bytes)
    for name, value in values.items():
        writer.write(name, value)
    writer.close()


def remove_weights(folder: Path) -> None:
    """Remove the weights of an earlier save."""
    for path in folder.iterdir():
        if path.name in (WEIGHTS, INDEX) or _SHARD.fullmatch(path.name):
            path.unlink()


def _create(folder: Path, specs: Mapping[str, TensorSpec], max_shard_bytes: int) -> WeightWriter:
    """Return the writer of one file, or of several with their index."""
    remove_weights(folder)
    shards = list(_shards(specs, max_shard_bytes))
    if len(shards) == 1:
        return WeightWriter({folder / WEIGHTS: specs})
    files = {
        f"model-{number:05d}-of-{len(shards):05d}.safetensors": {n: specs[n] for n in names}
        for number, names in enumerate(shards, start=1)
    }
    size = sum(spec.nbytes for spec in specs.values())
    places = {name: file for file, names in files.items() for name in names}
    index = {"metadata": {"total_size": size}, "weight_map": places}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")
    return WeightWriter({folder / file: names for file, names in files.items()})


def _shards(specs: Mapping[str, TensorSpec], limit: int) -> Iterator[list[str]]:
    """Yield the tensor names of each file, in sorted order."""
    names: list[str] = []
    size = 0
    for name, spec in sorted(specs.items()):
        if names and size + spec.nbytes > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += spec.nbytes
    yield names


def _header(tensors: Mapping[str, TensorSpec]) -> tuple[bytes, dict[str, int], int]:
    """Return the leading bytes of a file, the start of each tensor after them, and the end."""
    content: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    starts: dict[str, int] = {}
    end = 0
    ordered = sorted(tensors.items(), key=lambda item: (_ORDER.index(item[1].kind), item[0]))
    for name, spec in ordered:
        starts[name], end = end, end + spec.nbytes
        content[name] = {
            "dtype": spec.kind,
            "shape": list(spec.shape),
            "data_offsets": [starts[name], end],
        }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % PREFIX_BYTES)
    return len(text).to_bytes(PREFIX_BYTES, "little") + text, starts, end


def _blocks(values: NDArray[Any], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the values in ``dtype``, in order."""
    flat = np.ascontiguousarray(values).reshape(-1)
    with np.errstate(over="ignore"):
        for begin in range(0, flat.size, BLOCK_VALUES):
            yield flat[begin : begin + BLOCK_VALUES].astype(dtype, copy=False)


def _wide(block: NDArray[Any]) -> NDArray[Any]:
    return block.astype(np.float32) if block.dtype.itemsize < 4 else block


def _write_all(file: Any, block: NDArray[Any]) -> None:
    rest = block.view(np.uint8).data
    while rest:
        rest = rest[file.write(rest) :]
