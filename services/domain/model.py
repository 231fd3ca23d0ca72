"""Models that runs can start from, and what a model folder may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.domain.artifact import Artifact
from services.domain.errors import InvalidInput
from tailrace.formats.listing import FileEntry
from tailrace.formats.model_folder import CONFIG_FILE, WEIGHTS_INDEX, file_problem, lacks
from tailrace.formats.run_spec import RESOURCE_ID
from tailrace.formats.schema import Violation

MAX_CONFIG_BYTES = 1 << 20
"""Largest config.json, in bytes."""

MAX_INDEX_BYTES = 16 << 20
"""Largest index of weights, in bytes: some 100,000 tensors."""

_LIMITS = {CONFIG_FILE: MAX_CONFIG_BYTES, WEIGHTS_INDEX: MAX_INDEX_BYTES}
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_NAME = re.compile(rf"models/({RESOURCE_ID})")


@dataclass(frozen=True)
class Model:
    """A model folder in Hugging Face layout."""

    model_id: str
    """The id, as run specs name it: ``models/{model_id}``."""
    description: str
    """What it is, in a sentence."""
    architecture: str
    """``architectures[0]`` of its config.json."""
    artifact: Artifact
    """Its files."""
    create_time: datetime
    """When it was imported, in UTC."""

    @property
    def name(self) -> str:
        """``models/{model}``."""
        return f"models/{self.model_id}"


def parse_model_name(name: str, field: str = "name") -> str:
    """The id in ``models/{model}``; raises :class:`InvalidInput` at ``field``."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInput.field(field, f"{name[:200]!r} is not of the form models/{{model}}")
    return match[1]


def folder_violations(files: Sequence[FileEntry]) -> list[Violation]:
    """Every file that has no place in a model folder, and what the folder lacks.

    Path rules are the listing's (:func:`tailrace.formats.listing.listing_violations`).
    """
    found = []
    for i, file in enumerate(files):
        problem = _file_problem(file)
        if problem is not None:
            found.append(Violation(f"files[{i}].path", f"{file.path[:200]!r} {problem}"))
    missing = lacks({file.path for file in files})
    return [*found, *(Violation("files", sentence) for sentence in missing)]


def parse_config(config: object) -> dict[str, Any]:
    """A parsed config.json that names its architecture; raises :class:`ValueError` else."""
    if not isinstance(config, dict):
        raise ValueError("is not a JSON object")
    architecture(config)
    return config


def architecture(config: Mapping[str, Any]) -> str:
    """``architectures[0]`` of a config.json; raises :class:`ValueError` without one."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    if not isinstance(first, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,128}", first):
        raise ValueError("has no architectures[0], such as 'GPT2LMHeadModel'")
    return first


def weight_files(index: object) -> set[str]:
    """The file names in a parsed index of weights; raises :class:`ValueError` when it is none."""
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError("is no index of weights: it needs a weight_map")
    if not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in places.values()):
        raise ValueError("is no index of weights: its weight_map names something else than files")
    return set(places.values())


def _file_problem(file: FileEntry) -> str | None:
    limit = _LIMITS.get(file.path)
    if limit is not None and file.size_bytes > limit:
        return f"has {file.size_bytes} bytes, at most {limit} allowed"
    return file_problem(file.path)
