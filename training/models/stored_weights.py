"""Weights of a model folder, read tensor by tensor to their places on the devices.

Files are read with bounded buffers and not mapped into memory, so that loading needs the weights in
their target type and one tensor more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from tailrace.formats.model.families.family import OUTPUT_LAYER
from tailrace.formats.model.tensors import (
    TIED_PROBLEM,
    parameter_name,
    tensor_problems,
    tied_pair,
)
from training.errors import ModelConfigError
from training.machine.accelerators import require_room
from training.machine.sharding import Layout, bytes_per_device
from training.models.family import Model, Params
from training.models.tensor_blocks import fill
from training.models.weights import Place, find_places, list_weights, same_bytes

_BORROWED = 64
"""Alignment in bytes of host buffers that XLA borrows instead of copying."""

_OFF = 16
"""Offset from that alignment, which suits every type."""

Matrices = Mapping[str, NDArray[np.float32]]
"""Matrices of an adapter, by name."""

Rows = tuple[int, int]
"""First row of a tensor and the row after the last."""


class Weights(Protocol):
    """Weights of a model that can be loaded again."""

    @property
    def adapter(self) -> Matrices:
        """A and B of an adapter that a training continues, by name; empty for none."""
        ...

    def load(self, layout: Layout | None = None, dtype: DTypeLike = jnp.float32) -> Params:
        """Return the weights in ``dtype``, in arrays of their own.

        Args:
            layout: Layout over the devices (default: all on one device).
            dtype: Type of the returned arrays.
        """
        ...

    def tensor(self, name: str, layout: Layout | None, dtype: DTypeLike) -> jax.Array:
        """Return one of the weights as :meth:`load` does."""
        ...

    def array(self, name: str) -> NDArray[np.float32]:
        """Return the values of one of the weights on the host."""
        ...

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield the name and the values on the host of each tensor, sorted by name."""
        ...


class Update(Protocol):
    """Values to add to a weight."""

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the values for the rows from ``first`` to before ``last``."""
        ...


@dataclass(frozen=True)
class HeldWeights:
    """Weights that are in memory."""

    params: Params
    adapter: Matrices = field(default_factory=dict)

    def load(self, layout: Layout | None = None, dtype: DTypeLike = jnp.float32) -> Params:
        """Return copies; see :meth:`Weights.load`."""
        return {name: self.tensor(name, layout, dtype) for name in self.params}

    def tensor(self, name: str, layout: Layout | None, dtype: DTypeLike) -> jax.Array:
        """Return a copy; see :meth:`Weights.tensor`."""
        value = jnp.array(self.params[name], dtype)
        return value if layout is None else layout.put({name: value})[name]

    def array(self, name: str) -> NDArray[np.float32]:
        """Return the values of one; see :meth:`Weights.array`."""
        return np.asarray(self.params[name])

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield each tensor; see :meth:`Weights.arrays`."""
        for name in sorted(self.params):
            yield name, self.array(name)


class StoredWeights:
    """Weights in the files of a model folder."""

    def __init__(
        self,
        folder: Path,
        model: Model,
        updates: Mapping[str, Update] | None = None,
        adapter: Matrices | None = None,
    ) -> None:
        """Find each tensor; with several files, the index decides which one it is read from.

        Args:
            folder: The model folder.
            model: The model.
            updates: Values that are added to the weights of their names in float32 while these are
                loaded.
            adapter: See :attr:`Weights.adapter`.

        Raises:
            ModelNotFoundError: There are no weights, or files are missing.
            ModelConfigError: Headers are damaged, or tensors do not fit the configuration (the
                message lists them with their shapes).
        """
        self._folder = folder
        self._shapes = model.shapes
        self._updates = updates or {}
        self.adapter: Matrices = adapter or {}
        """See :attr:`Weights.adapter`."""
        self._places = parameter_places(folder, model)

    def load(self, layout: Layout | None = None, dtype: DTypeLike = jnp.float32) -> Params:
        """Return the weights in ``dtype``; see :meth:`Weights.load`.

        Raises:
            ModelConfigError: A file is damaged, or a value is not finite as float32.
            DoesNotFitError: There is not enough memory.
        """
        target = np.dtype(dtype)
        values = sum(map(math.prod, self._shapes.values()))
        needed = values * target.itemsize
        if layout is not None:
            needed = bytes_per_device(layout, self._shapes, target.itemsize)
        require_room(needed, f"the weights of {self._folder}, {values:,} values,")
        return {name: self.tensor(name, layout, target) for name in self._shapes}

    def array(self, name: str) -> NDArray[np.float32]:
        """Return the values of one; see :meth:`Weights.array`. Errors as :meth:`load`."""
        return self._rows(name, (0, self._shapes[name][0]), np.dtype(np.float32))

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield each tensor; see :meth:`Weights.arrays`. Errors as :meth:`load`."""
        for name in self._shapes:
            yield name, self.array(name)

    def tensor(self, name: str, layout: Layout | None, dtype: DTypeLike) -> jax.Array:
        """Return one of the weights; see :meth:`Weights.tensor`. Errors as :meth:`load`."""
        shape, target = self._shapes[name], np.dtype(dtype)
        if layout is None:
            array: jax.Array = jax.device_put(self._rows(name, (0, shape[0]), target))
            _wait([array])
            return array
        sharding = layout.parameter(name, shape)
        pieces: list[jax.Array] = []
        for rows, columns in _by_rows(sharding, shape).items():
            values = self._rows(name, rows, target)
            for device, rest in columns:
                piece: Any = values[(slice(None), *rest)]
                pieces.append(jax.device_put(piece, device))
            # Or the host would hold further rows before it may drop these.
            _wait(pieces)
        return jax.make_array_from_single_device_arrays(shape, sharding, pieces)

    def _rows(self, name: str, rows: Rows, target: np.dtype[Any]) -> NDArray[Any]:
        """Return some rows of a tensor in the target type, updates included."""
        update = self._updates.get(name)
        if update is None:
            return self._stored_rows(name, rows, target)
        values = self._stored_rows(name, rows, np.dtype(np.float32))
        with np.errstate(over="ignore", invalid="ignore"):
            values += update.rows(*rows)
        if not np.isfinite(values).all():
            raise ModelConfigError(
                f"{self._folder}: {name} with its adapter has values beyond float32: the adapter "
                "is damaged; take an earlier checkpoint of it, or import the base model alone"
            )
        if target == values.dtype:
            return values
        rounded = _buffer(values.size, target).reshape(values.shape)
        rounded[...] = values
        return rounded

    def _stored_rows(self, name: str, rows: Rows, target: np.dtype[Any]) -> NDArray[Any]:
        """Return some rows of a stored tensor in the target type, read block by block."""
        places, shape = self._places[name], self._shapes[name]
        width = math.prod(shape[1:])
        values = _buffer((rows[1] - rows[0]) * width, target)
        if len(places) == 1:
            fill(values, places[0], rows[0] * width)
        else:
            for place, row in zip(places[slice(*rows)], values.reshape(-1, width), strict=True):
                fill(row, place, 0)
        return values.reshape(rows[1] - rows[0], *shape[1:])


def parameter_places(folder: Path, model: Model) -> dict[str, list[Place]]:
    """Return the stored tensors of each parameter of a model, by its name.

    They are one, or the rows of a parameter that stacks the tensors of files.

    Raises:
        ModelNotFoundError: There are no weights, or files are missing.
        ModelConfigError: As :class:`StoredWeights`.
    """
    family, shapes = model.family, model.stored_shapes
    places = find_places(folder, list_weights(folder))
    tensors = {name: place.entry.tensor for name, place in places.items()}
    problems = tensor_problems(family, shapes, tensors)
    if problems:
        raise ModelConfigError(f"{folder}: the weights do not fit config.json: {problems}")
    pair = tied_pair(family, shapes, tensors)
    if pair is not None and not same_bytes(*(places[name] for name in pair)):
        raise ModelConfigError(f"{folder}: {TIED_PROBLEM}")
    named = {}
    for stored, place in places.items():
        name = parameter_name(stored, shapes, family)
        if name == OUTPUT_LAYER and name not in shapes:
            name = family.embedding
        named[name] = place
    stacks = family.stacks(model.config)
    return {name: [named[row] for row in stacks.get(name, (name,))] for name in model.shapes}


def stored_types(folder: Path, model: Model) -> dict[str, str]:
    """Return the stored type of each parameter by its safetensors name (``BF16``).

    Errors as :func:`parameter_places`.
    """
    places = parameter_places(folder, model)
    return {name: stored[-1].entry.tensor.dtype for name, stored in places.items()}


def _by_rows(
    sharding: Any, shape: tuple[int, ...]
) -> Mapping[Rows, list[tuple[jax.Device, tuple[slice, ...]]]]:
    """Return the devices of each range of rows, each with its part of the other dimensions."""
    groups: dict[Rows, list[tuple[jax.Device, tuple[slice, ...]]]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        first, last, _ = index[0].indices(shape[0])
        groups.setdefault((first, last), []).append((device, index[1:]))
    return groups


def _wait(arrays: list[jax.Array]) -> None:
    """Return when the arrays are on their devices."""
    block: Any = jax.block_until_ready
    block(arrays)


def _buffer(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a host buffer of ``count`` values that no device borrows.

    XLA's processors borrow an aligned buffer. A borrowed one cannot be donated to a step, which
    would hold the weights twice.
    """
    raw = np.empty(count * dtype.itemsize + _BORROWED, np.uint8)
    offset = (_OFF - raw.ctypes.data) % _BORROWED
    return raw[offset : offset + count * dtype.itemsize].view(dtype)
