"""Devices of generation: all of the worker slot's, with parameters split as in training."""

from __future__ import annotations

import dataclasses

import jax

from tailrace.formats.spec.train_spec import MeshSpec
from training.machine.sharding import Layout, make_mesh, require_experts
from training.models.family import Model


def generation_layout(model: Model, mesh: MeshSpec) -> Layout | None:
    """Return the layout of generation's arrays; None with one device.

    The sizes of fsdp, tensor and experts come from ``mesh``; data takes the remaining devices.

    Raises:
        ConfigError: There are too few devices, or experts do not divide.
    """
    devices = jax.device_count()
    if devices == 1:
        return None
    require_experts(mesh, model.dimensions.experts)
    rows = devices // mesh.tensor // mesh.experts // mesh.fsdp * mesh.fsdp
    return Layout.of(
        model.family.model_type, make_mesh(dataclasses.replace(mesh, data=0), max(rows, 1))
    )
