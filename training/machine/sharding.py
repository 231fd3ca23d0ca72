"""How devices share a training: one mesh with the axes data, fsdp and tensor.

Batches are split over data and fsdp. Parameters and optimizer state are split over fsdp (as in
ZeRO, Rajbhandari et al., arXiv:1910.02054) and over tensor (as in Megatron-LM, Shoeybi et al.,
arXiv:1909.08053): each layer has one rule that names its axes. XLA's partitioner (GSPMD, Xu et
al., arXiv:2105.04663) adds the communication, so the arithmetic is written once, for one device.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.families.family import FSDP, TENSOR, AxisRules
from tailrace.formats.spec.run_spec import MeshSpec
from training.errors import ConfigError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_spec: Any = PartitionSpec
_constrain: Any = jax.lax.with_sharding_constraint

DATA = "data"
"""Mesh axis that batches are split over, together with fsdp."""

BATCH_AXES = (DATA, FSDP)
"""Mesh axes that rows of a batch are split over."""


def make_mesh(spec: MeshSpec, rows: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of a slot's devices (by default all that this process sees).

    ``rows`` is how many rows are computed at a time; they are split over data and fsdp. Raises
    :class:`training.errors.ConfigError` when there are too few devices or the rows do not divide.
    """
    found = list(jax.devices() if devices is None else devices)
    inner = spec.fsdp * spec.tensor
    if inner * max(1, spec.data) > len(found):
        raise ConfigError(
            f"train.mesh asks for {inner * max(1, spec.data)} devices (data {max(1, spec.data)} × "
            f"fsdp {spec.fsdp} × tensor {spec.tensor}), the slot has {len(found)}: lower one of "
            "them, or ask for a larger pool"
        )
    data = spec.data or _most_data(rows, spec.fsdp, len(found) // inner)
    if rows % (data * spec.fsdp):
        raise ConfigError(
            f"{rows} rows at a time cannot be split over data {data} × fsdp {spec.fsdp}: make "
            f"train.batch_size (or micro_batch_size) a multiple of {data * spec.fsdp}"
        )
    used = data * inner
    if used < len(found):
        _log.warning(
            "%d of the slot's %d devices stay idle: %d rows at a time, mesh %s",
            len(found) - used,
            len(found),
            rows,
            f"data {data} × fsdp {spec.fsdp} × tensor {spec.tensor}",
        )
    return jax.make_mesh(
        (data, spec.fsdp, spec.tensor),
        (DATA, FSDP, TENSOR),
        axis_types=(AxisType.Auto,) * 3,
        devices=found[:used],
    )


def _most_data(rows: int, fsdp: int, most: int) -> int:
    """The largest size of the data axis, up to ``most``, that the rows divide into."""
    return max((n for n in range(1, most + 1) if rows % (n * fsdp) == 0), default=1)


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a training lie."""

    mesh: Mesh
    rules: AxisRules

    @classmethod
    def of(cls, model_type: str, mesh: Mesh) -> Layout:
        """Return the layout of a family's models. Raises :class:`KeyError` for an unknown one."""
        return cls(mesh, FAMILIES[model_type].axes)

    @property
    def name(self) -> str:
        """The sizes of the axes, such as ``data 4 × fsdp 1 × tensor 2``."""
        return " × ".join(f"{axis} {size}" for axis, size in self.mesh.shape.items())

    def axes(self, name: str, shape: Sequence[int]) -> tuple[str | None, ...]:
        """The axis that each dimension of a parameter is split over; none when it lies whole.

        A dimension that an axis does not divide evenly (a vocabulary of 50,257) is not split.
        """
        axes = next((axes for rule, axes in self.rules if re.fullmatch(rule, name)), ())
        if len(axes) != len(shape):
            return ()
        return tuple(
            axis if axis and size % self.mesh.shape[axis] == 0 else None
            for axis, size in zip(axes, shape, strict=True)
        )

    def parameter(self, name: str, shape: Sequence[int]) -> NamedSharding:
        """Where a parameter lies; so do its moments."""
        return NamedSharding(self.mesh, _spec(*self.axes(name, shape)))

    def batch(self, dimensions: int, rows: int) -> NamedSharding:
        """Where an array of a batch lies: dimension number ``rows`` counts its rows."""
        axes = [BATCH_AXES if i == rows else None for i in range(dimensions)]
        return NamedSharding(self.mesh, _spec(*axes))

    def shardings(self, state: T) -> T:
        """The sharding of every leaf of a pytree of parameters or optimizer state.

        A leaf belongs to a parameter when the last key of its path is the parameter's name; others
        (step counts) lie whole on every device.
        """

        def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
            key = getattr(path[-1], "key", None) if path else None
            return self.parameter(key if isinstance(key, str) else "", leaf.shape)

        placed: T = jax.tree_util.tree_map_with_path(of, state)
        return placed

    def place(self, state: T) -> T:
        """A copy of the state, laid out over the mesh; nothing of it is shared."""

        def copy(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
            # Copied first: a transfer may share the buffer on the device that holds it already.
            moved: jax.Array = jax.device_put(jnp.copy(leaf), sharding)
            return moved

        placed: T = jax.tree.map(copy, state, self.shardings(state))
        return placed

    def hold(self, state: T) -> T:
        """Inside a compiled function: keep the state where :meth:`place` put it."""
        kept: T = _constrain(state, self.shardings(state))
        return kept

    def split(self, batch: T, rows: int) -> T:
        """Inside a compiled function: split the batch's arrays over their rows' dimension."""
        pieces: T = jax.tree.map(lambda leaf: _constrain(leaf, self.batch(leaf.ndim, rows)), batch)
        return pieces

    @property
    def row_parts(self) -> int:
        """Into how many parts the rows of a batch are split."""
        return math.prod(self.mesh.shape[axis] for axis in BATCH_AXES)

    def split_rows(self, state: T) -> T:
        """Inside a compiled function: split the rows of generation, and the heads of its cache.

        Dimension 0 counts the rows; dimension 1 of arrays with four counts key-value heads.
        """

        def split(leaf: jax.Array) -> jax.Array:
            heads = leaf.ndim == 4 and leaf.shape[1] % self.mesh.shape[TENSOR] == 0
            axes: list[Any] = [BATCH_AXES, *[None] * (leaf.ndim - 1)]
            if heads:
                axes[1] = TENSOR
            held: jax.Array = _constrain(leaf, NamedSharding(self.mesh, _spec(*axes)))
            return held

        pieces: T = jax.tree.map(split, state)
        return pieces

    def parts(self, name: str, shape: Sequence[int]) -> int:
        """Into how many different parts a parameter is split."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes(name, shape) if axis)


def bytes_per_device(layout: Layout, shapes: Mapping[str, Sequence[int]], width: int) -> int:
    """How many bytes of parameters with ``width`` bytes a value lie on each device."""
    return sum(
        math.prod(shape) * width // layout.parts(name, shape) for name, shape in shapes.items()
    )
