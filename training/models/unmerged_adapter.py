"""The imported adapter in a model folder, merged into the weights while they are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.model.adapter import (
    DOWN,
    PREFIX,
    UNMERGED_CONFIG,
    UNMERGED_WEIGHTS,
    UP,
    adapted_modules,
    read_adapter_config,
)
from tailrace.formats.outside_json import read_object
from training.errors import ModelConfigError
from training.loop.lora import find_targets
from training.models.family import Model
from training.models.stored_weights import Update, read_tensor
from training.models.weights import Place, read_file_header


@dataclass(frozen=True)
class LowRankUpdate:
    """Scaled product of B and A, in the layout of the weight that it is added to."""

    left: NDArray[np.float32]
    """Factor with the rows of the weight, [rows, rank]."""
    right: NDArray[np.float32]
    """Factor with the columns of the weight, [rank, columns]."""
    scale: float

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the values for the rows from ``first`` to before ``last``."""
        return np.float32(self.scale) * (self.left[first:last] @ self.right)


def read_updates(folder: Path, model: Model) -> dict[str, Update]:
    """Return the update of each weight by its name; none for a folder without an adapter.

    The adapter has passed :func:`tailrace.formats.model.check.check_weights`.

    Raises:
        ModelConfigError: A matrix fits no linear layer, or holds values that are not finite.
    """
    path = folder / UNMERGED_WEIGHTS
    if not path.is_file():
        return {}
    scale = read_adapter_config(read_object((folder / UNMERGED_CONFIG).read_bytes())).scale
    entries, start = read_file_header(path)
    matrices = {
        name.removeprefix(PREFIX): read_tensor(Place(path, name, entry, start + entry.start))
        for name, entry in entries.items()
    }
    tensors = {name: entry.tensor for name, entry in entries.items()}
    layers = {target.module: target for target in find_targets(model, adapted_modules(tensors))}
    updates: dict[str, Update] = {}
    for module in adapted_modules(tensors):
        down, up = matrices[module + DOWN], matrices[module + UP]
        target = layers.get(module)
        if target is None or (target.inputs, target.outputs) != (down.shape[1], up.shape[0]):
            raise ModelConfigError(f"{path}: {module} does not fit the layer of the base model")
        left, right = (down.T, up.T) if target.transposed else (up, down)
        updates[target.weight] = LowRankUpdate(left, right, scale)
    return updates
