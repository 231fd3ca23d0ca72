"""The distribution of a training over devices: one mesh of devices with four axes.

The axes are data, fsdp, tensor and experts. Batches are split over data and fsdp. Parameters and
optimizer state are split over fsdp (as in ZeRO, Rajbhandari et al., arXiv:1910.02054) and over
tensor (as in Megatron-LM, Shoeybi et al., arXiv:1909.08053): each layer has one rule that names its
axes. The weights of experts are split over experts, too (as in GShard, Lepikhin et al.,
arXiv:2006.16668). XLA's partitioner (GSPMD, Xu et al., arXiv:2105.04663) adds the communication, so
the arithmetic is written once, for one device; only experts say themselves which part is computed
where.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import DictKey

from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.families.family import EXPERTS, FSDP, TENSOR, AxisRules
from tailrace.formats.spec.run_spec import MeshSpec
from training.errors import ConfigError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_spec: Any = PartitionSpec
_constrain: Any = jax.lax.with_sharding_constraint
_use_mesh: Any = jax.sharding.use_abstract_mesh

DATA = "data"
"""Mesh axis that batches are split over, together with fsdp."""

BATCH_AXES = (DATA, FSDP)
"""Mesh axes that rows of a batch are split over."""


def make_mesh(spec: MeshSpec, rows: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return the mesh of a slot's devices.

    Args:
        spec: Sizes of the axes.
        rows: Number of rows per pass, which are split over data and fsdp.
        devices: The devices (default: all that this process sees).

    Raises:
        ConfigError: There are too few devices, or the rows do not divide.
    """
    available = list(jax.devices() if devices is None else devices)
    inner = spec.fsdp * spec.tensor * spec.experts
    if inner * max(1, spec.data) > len(available):
        raise ConfigError(
            f"train.mesh asks for {inner * max(1, spec.data)} devices "
            f"({_sizes_text(spec, max(1, spec.data))}), the slot has {len(available)}: lower one "
            "of them, or ask for a larger pool"
        )
    data = spec.data or _most_data(rows, spec.fsdp, len(available) // inner)
    if rows % (data * spec.fsdp):
        raise ConfigError(
            f"{rows} rows at a time cannot be split over data {data} × fsdp {spec.fsdp}: make "
            f"train.batch_size (or micro_batch_size) a multiple of {data * spec.fsdp}"
        )
    used = data * inner
    if used < len(available):
        _log.warning(
            "%d of the slot's %d devices stay idle: %d rows at a time, mesh %s",
            len(available) - used,
            len(available),
            rows,
            _sizes_text(spec, data),
        )
    return jax.make_mesh(
        (data, spec.fsdp, spec.tensor, spec.experts),
        (DATA, FSDP, TENSOR, EXPERTS),
        axis_types=(AxisType.Auto,) * 4,
        devices=available[:used],
    )


def require_experts(spec: MeshSpec, experts: int) -> None:
    """Raise :class:`ConfigError` if a model with ``experts`` in a layer cannot have a mesh."""
    if spec.experts > 1 and (experts == 0 or experts % spec.experts):
        text = f"{experts} experts" if experts else "no experts"
        raise ConfigError(
            f"train.mesh.experts is {spec.experts}, but the model has {text}: must be 1 or a "
            "divisor of their number"
        )


def _sizes_text(spec: MeshSpec, data: int) -> str:
    return axes_text({DATA: data, FSDP: spec.fsdp, TENSOR: spec.tensor, EXPERTS: spec.experts})


def axes_text(sizes: Mapping[str, int]) -> str:
    """Return the sizes of a mesh's axes as text; that of experts only where it divides them."""
    axes = {axis: size for axis, size in sizes.items() if axis != EXPERTS or size > 1}
    return " × ".join(f"{axis} {size}" for axis, size in axes.items())


def _most_data(rows: int, fsdp: int, most: int) -> int:
    """Return the largest size of the data axis, up to ``most``, that divides the rows."""
    return max((n for n in range(1, most + 1) if rows % (n * fsdp) == 0), default=1)


@dataclass(frozen=True)
class Layout:
    """Layout of a training's arrays over the devices of a mesh."""

    mesh: Mesh
    rules: AxisRules

    @classmethod
    def of(cls, model_type: str, mesh: Mesh) -> Layout:
        """Return the layout of a family's models. Raises :class:`KeyError` for an unknown one."""
        return cls(mesh, FAMILIES[model_type].axes)

    @property
    def name(self) -> str:
        """Sizes of the axes, such as ``data 4 × fsdp 1 × tensor 2``."""
        return axes_text(self.mesh.shape)

    def current(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which layers see the mesh, while a function is compiled."""
        if self.mesh.size == 1:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = _use_mesh(self.mesh.abstract_mesh)
        return context

    def axes(self, name: str, shape: Sequence[int]) -> tuple[str | None, ...]:
        """Return the axis that each dimension of a parameter is split over; empty for replication.

        A dimension that the axis does not divide evenly (a vocabulary of 50,257) is not split.
        """
        axes = next((axes for rule, axes in self.rules if re.fullmatch(rule, name)), ())
        if len(axes) != len(shape):
            return ()
        return tuple(
            axis if axis and size % self.mesh.shape[axis] == 0 else None
            for axis, size in zip(axes, shape, strict=True)
        )

    def parameter(self, name: str, shape: Sequence[int]) -> NamedSharding:
        """Return the sharding of a parameter and its moments."""
        return NamedSharding(self.mesh, _spec(*self.axes(name, shape)))

    def batch(self, dimensions: int, rows: int) -> NamedSharding:
        """Return the sharding of an array of a batch whose dimension ``rows`` counts its rows."""
        axes = [BATCH_AXES if i == rows else None for i in range(dimensions)]
        return NamedSharding(self.mesh, _spec(*axes))

    def shardings(self, state: T) -> T:
        """Return the shardings of a pytree of parameters or optimizer state.

        A leaf belongs to a parameter if the last key of its path is the parameter's name; other
        leaves (step counts) are replicated. The parts of a quantized weight belong to it, too.
        """

        def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
            keys = [entry.key for entry in path if isinstance(entry, DictKey)]
            key = keys[-1] if keys else None
            return self.parameter(key if isinstance(key, str) else "", leaf.shape)

        placed: T = jax.tree_util.tree_map_with_path(of, state)
        return placed

    def put(self, state: T) -> T:
        """Return the state laid out over the mesh; parts in their places are not copied."""
        placed: T = jax.device_put(state, self.shardings(state))
        return placed

    def place(self, state: T) -> T:
        """Return a copy of the state, laid out over the mesh, that shares no buffer with it."""

        def copy(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
            # Copied first: a transfer to a device that has the buffer already may share it.
            moved: jax.Array = jax.device_put(jnp.copy(leaf), sharding)
            return moved

        placed: T = jax.tree.map(copy, state, self.shardings(state))
        return placed

    def constrain(self, state: T) -> T:
        """Constrain the state to the layout of :meth:`place`, inside a compiled function."""
        constrained: T = _constrain(state, self.shardings(state))
        return constrained

    def split(self, batch: T, rows: int) -> T:
        """Split the arrays of a batch by rows, inside a compiled function."""
        pieces: T = jax.tree.map(lambda leaf: _constrain(leaf, self.batch(leaf.ndim, rows)), batch)
        return pieces

    @property
    def row_parts(self) -> int:
        """Number of parts that the rows of a batch are split into."""
        return math.prod(self.mesh.shape[axis] for axis in BATCH_AXES)

    def split_rows(self, state: T) -> T:
        """Split the rows of generation and the heads of its cache, inside a compiled function.

        Dimension 0 counts the rows; dimension 1 of arrays with four counts key-value heads.
        """

        def split(leaf: jax.Array) -> jax.Array:
            heads = leaf.ndim == 4 and leaf.shape[1] % self.mesh.shape[TENSOR] == 0
            axes: list[Any] = [BATCH_AXES, *[None] * (leaf.ndim - 1)]
            if heads:
                axes[1] = TENSOR
            constrained: jax.Array = _constrain(leaf, NamedSharding(self.mesh, _spec(*axes)))
            return constrained

        pieces: T = jax.tree.map(split, state)
        return pieces

    def parts(self, name: str, shape: Sequence[int]) -> int:
        """Return the number of different parts that a parameter is split into."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes(name, shape) if axis)


def bytes_per_device(layout: Layout, shapes: Mapping[str, Sequence[int]], width: int) -> int:
    """Return the bytes of parameters on each device, with ``width`` bytes a value."""
    return sum(
        math.prod(shape) * width // layout.parts(name, shape) for name, shape in shapes.items()
    )
