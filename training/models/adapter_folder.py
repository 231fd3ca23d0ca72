"""Adapter folders in the layout of Hugging Face's PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from training.loop.lora import LoraAdapter
from training.machine.file_errors import as_os_errors
from training.models.family import Params

FOLDER = "adapter"
"""Name of the adapter's folder inside the folder of the merged model."""

CONFIG = "adapter_config.json"
"""File name of the configuration."""

WEIGHTS = "adapter_model.safetensors"
"""File name of the adapter's matrices."""

_PREFIX = "base_model.model."
"""Prefix that PEFT's wrapper adds to every tensor name."""


def save_adapter(folder: Path, adapter: LoraAdapter, trained: Params, base: str | None) -> None:
    """Write an adapter that ``PeftModel.from_pretrained`` opens on top of its base model.

    ``base`` is the path or name of the base model. Equal adapters give equal bytes. Raises
    :class:`OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(adapter_config(adapter, base), indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    tensors = {_PREFIX + name: np.ascontiguousarray(value) for name, value in trained.items()}
    with as_os_errors(folder / WEIGHTS):
        save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(folder.stat().st_mode & 0o666)


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
