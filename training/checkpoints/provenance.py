"""provenance.json: what a result was made from."""

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
"""The file's name, next to the final model's folder."""

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "transformers", "tokenizers", "safetensors")


def environment() -> dict[str, Any]:
    """The versions, device and CPU width that a result depends on."""
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
    """Write ``facts`` and the environment as JSON. Raises :class:`OSError`."""
    content = {**facts, "environment": environment()}
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def told_date(model: Path) -> date | None:
    """Return the day that a training's chat template read, by its final model's folder.

    None where the folder is not that of a training, or its template has no clock.
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
