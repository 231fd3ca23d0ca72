"""Which devices generate: all of the slot's, parameters split as in training."""

from __future__ import annotations

import dataclasses

import jax

from tailrace.formats.spec.train_spec import MeshSpec
from training.machine.sharding import Layout, make_mesh
from training.models.family import Model


def generation_layout(model: Model, mesh: MeshSpec) -> Layout | None:
    """Where generation's arrays lie; None with one device, where nothing is split.

    Of ``mesh`` the sizes of fsdp and tensor count; data takes what devices are left. Raises
    :class:`training.errors.ConfigError` when there are too few.
    """
    devices = jax.device_count()
    if devices == 1:
        return None
    rows = devices // mesh.tensor // mesh.fsdp * mesh.fsdp
    return Layout.of(
        model.family.model_type, make_mesh(dataclasses.replace(mesh, data=0), max(rows, 1))
    )
