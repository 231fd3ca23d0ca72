"""Stored tensors, read block by block with their values checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from training.errors import ModelConfigError
from training.models.weights import Place

FLOATS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
"""Type of stored weights by its safetensors name."""

BLOCK_VALUES = 1 << 20
"""Number of values that are read and converted at a time."""


def read_blocks(place: Place, first: int, count: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield ``count`` stored values from value ``first`` on, in blocks with their offsets.

    A block is overwritten by the next one.

    Raises:
        ModelConfigError: The file has become shorter.
        OSError: The file cannot be read.
    """
    dtype = FLOATS[place.entry.tensor.dtype]
    buffer = np.empty(min(count, BLOCK_VALUES), dtype)
    with place.path.open("rb", buffering=0) as file:
        file.seek(place.start + first * dtype.itemsize)
        for begin in range(0, count, BLOCK_VALUES):
            block = buffer[: min(BLOCK_VALUES, count - begin)]
            rest = block.view(np.uint8).data
            while rest:
                size = file.readinto(rest)
                if not size:
                    raise ModelConfigError(f"{place.path} is cut or damaged: fetch it again")
                rest = rest[size:]
            yield begin, block


def read_tensor(place: Place) -> NDArray[np.float32]:
    """Return a stored tensor as float32.

    Raises:
        ModelConfigError: The file is damaged, or a value is not finite.
        OSError: The file cannot be read.
    """
    shape = place.entry.tensor.shape
    values = np.empty(math.prod(shape), np.float32)
    fill(values, place, 0)
    return values.reshape(shape)


def fill(values: NDArray[Any], place: Place, first: int) -> None:
    """Fill an array with stored values from value ``first`` on, in the array's type.

    Raises:
        ModelConfigError: The file is damaged, or a value is not finite as float32.
        OSError: The file cannot be read.
    """
    with np.errstate(over="ignore"):
        for begin, block in read_blocks(place, first, values.size):
            wide = block.astype(np.float32, copy=False)
            if not np.isfinite(wide).all():
                raise not_finite(place)
            values[begin : begin + block.size] = block if block.dtype == values.dtype else wide


def not_finite(place: Place) -> ModelConfigError:
    """Return the error for a tensor with values that are not finite; reads all of it."""
    shape = place.entry.tensor.shape
    bad, first = 0, None
    for begin, block in read_blocks(place, 0, math.prod(shape)):
        wrong = np.flatnonzero(~np.isfinite(block.astype(np.float32)))
        if wrong.size and first is None:
            first = begin + int(wrong[0])
        bad += wrong.size
    where = [int(index) for index in np.unravel_index(first or 0, shape)]
    return ModelConfigError(
        f"{place.path}: {place.name} holds {bad} values of {math.prod(shape)} that are NaN or "
        f"infinite, the first at {where}: the model is damaged; take an earlier checkpoint, or "
        "fetch it again"
    )
