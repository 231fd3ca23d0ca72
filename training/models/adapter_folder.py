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
    adapted_modules,
    read_adapter_config,
)
from tailrace.formats.outside_json import read_object
from training.errors import ModelConfigError
from training.loop.lora import LoraAdapter, find_targets
from training.machine.file_errors import as_os_errors
from training.models.family import Model, Params
from training.models.stored_weights import Update, read_tensor
from training.models.weights import Place, read_file_header

FOLDER = "adapter"
"""Name of the adapter's folder inside the folder of the merged model."""


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
    modules = {target.module.rsplit(".", 1)[-1] for target in adapter.targets}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.spec.rank,
        "lora_alpha": adapter.spec.alpha,
        "lora_dropout": adapter.spec.dropout,
        "target_modules": sorted(adapter.spec.target_modules or modules),
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
