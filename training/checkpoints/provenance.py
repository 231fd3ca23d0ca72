"""provenance.json: the inputs and the environment of a training."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class ChatFacts:
    """Settings of a training that decide how the prompts of its model are rendered."""

    clock: date | None = None
    """Day that the chat template reads; None for a template without a clock."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables for the chat template."""
    allow_special_tokens: bool = False
    """True if text of the dataset's prompts may become special tokens."""


def model_chat_facts(model: Path) -> ChatFacts:
    """Return how prompts were rendered in the training of a final model.

    Those of a folder that is not the final model of a training are the defaults.
    """
    try:
        facts = json.loads((model.parent / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ChatFacts()
    day = _at(facts, "result", "template_date")
    kwargs = _at(facts, "model", "chat_template_kwargs")
    try:
        clock = date.fromisoformat(day) if isinstance(day, str) else None
    except ValueError:
        clock = None
    return ChatFacts(
        clock,
        kwargs if isinstance(kwargs, dict) else {},
        _at(facts, "train", "sft", "allow_special_tokens") is True,
    )


def _at(facts: Any, *names: str) -> Any:
    """Return a value inside nested objects; None if it is missing."""
    for name in names:
        facts = facts.get(name) if isinstance(facts, dict) else None
    return facts


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
