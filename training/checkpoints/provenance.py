"""provenance.json: the inputs and the environment of a training."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

from training.machine.runtime import device_name, processor

FILE = "provenance.json"
"""Name of the file, next to the final model's folder."""

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "transformers", "tokenizers", "safetensors")


def environment() -> dict[str, Any]:
    """Return the versions, device and CPU width that a result depends on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "system": sys.platform,
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def write_provenance(path: Path, facts: dict[str, Any]) -> None:
    """Write ``facts`` and the environment as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    content = {**facts, "environment": environment()}
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def model_template_date(model: Path) -> date | None:
    """Return the day that the chat template read in the training of a final model.

    None for a folder that is not the final model of a training, or a template without a clock.
    """
    try:
        facts = json.loads((model.parent / FILE).read_text(encoding="utf-8"))
        return date.fromisoformat(facts["result"]["template_date"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
