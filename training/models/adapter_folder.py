"""Adapter folders in the layout of Hugging Face's PEFT: written, and merged into a base model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tailrace.formats.model.adapter import (
    CONFIG_NAME,
    DOWN,
    PREFIX,
    UNMERGED_CONFIG,
    UNMERGED_WEIGHTS,
    UP,
    WEIGHTS_NAME,
    AdapterConfig,
    adapted_modules,
    read_adapter_config,
)
from tailrace.formats.outside_json import read_object
from training.errors import ModelConfigError
from training.loop.lora import LoraAdapter, Target, linear_layers
from training.machine.file_errors import as_os_errors
from training.models.family import Model, Params
from training.models.stored_weights import Update
from training.models.tensor_blocks import read_tensor
from training.models.weights import Place, read_file_header


def save_adapter(folder: Path, adapter: LoraAdapter, trained: Params, base: str | None) -> None:
    """Write an adapter that ``PeftModel.from_pretrained`` opens on top of its base model.

    ``base`` is the path or name of the base model. Equal adapters give equal bytes. Raises
    :class:`OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(adapter_config(adapter, base), indent=2, sort_keys=True) + "\n"
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    tensors = {PREFIX + name: np.ascontiguousarray(value) for name, value in trained.items()}
    with as_os_errors(folder / WEIGHTS_NAME):
        save_file(tensors, str(folder / WEIGHTS_NAME), metadata={"format": "pt"})
    (folder / WEIGHTS_NAME).chmod(folder.stat().st_mode & 0o666)


def adapter_config(adapter: LoraAdapter, base: str | None) -> dict[str, Any]:
    """Return ``adapter_config.json`` with the keys of PEFT's ``LoraConfig``."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.spec.rank,
        "lora_alpha": adapter.spec.alpha,
        "lora_dropout": adapter.spec.dropout,
        "target_modules": sorted(adapter.spec.target_modules or adapter.module_names),
        # GPT-2's weights are [inputs, outputs].
        "fan_in_fan_out": any(target.transposed for target in adapter.targets),
        "bias": "none",
        "modules_to_save": None,
        "use_rslora": False,
        "inference_mode": True,
    }


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


@dataclass(frozen=True)
class StoredAdapter:
    """Adapter in the folder of its base model."""

    config: AdapterConfig
    targets: list[Target]
    """Adapted layers, sorted by name."""
    matrices: dict[str, NDArray[np.float32]]
    """A and B of every layer, by the names of :class:`training.loop.lora.Target`."""

    def updates(self) -> dict[str, Update]:
        """Return the update of each weight by its name."""
        updates: dict[str, Update] = {}
        for target in self.targets:
            down, up = self.matrices[target.down], self.matrices[target.up]
            left, right = (down.T, up.T) if target.transposed else (up, down)
            updates[target.weight] = LowRankUpdate(left, right, self.config.scale)
        return updates


def read_adapter(folder: Path, model: Model) -> StoredAdapter | None:
    """Return the adapter in a model folder; None for a folder without one.

    The adapter has passed :func:`tailrace.formats.model.check.check_weights`.

    Raises:
        ModelConfigError: A matrix fits no linear layer, or holds values that are not finite.
    """
    path = folder / UNMERGED_WEIGHTS
    if not path.is_file():
        return None
    config = read_adapter_config(read_object((folder / UNMERGED_CONFIG).read_bytes()))
    entries, start = read_file_header(path)
    matrices = {
        name.removeprefix(PREFIX): read_tensor(Place(path, name, entry, start + entry.start))
        for name, entry in entries.items()
    }
    modules = adapted_modules({name: entry.tensor for name, entry in entries.items()})
    layers = {target.module: target for target in linear_layers(model)}
    for module in modules:
        inputs, outputs = matrices[module + DOWN].shape[1], matrices[module + UP].shape[0]
        target = layers.get(module)
        if target is None or (target.inputs, target.outputs) != (inputs, outputs):
            raise ModelConfigError(f"{path}: {module} does not fit the layer of the base model")
    return StoredAdapter(config, [layers[module] for module in modules], matrices)
