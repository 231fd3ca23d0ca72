"""Models that runs can start from, and what a model folder may hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain.artifact import Artifact
from services.domain.errors import InvalidInput
from tailrace.formats.listing import FileEntry
from tailrace.formats.model_folder import CONFIG_FILE, WEIGHTS, file_problem
from tailrace.formats.run_spec import RESOURCE_ID
from tailrace.formats.schema import Violation

MAX_CONFIG_BYTES = 1 << 20
"""Largest config.json, in bytes."""

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
    if not any(file.path == CONFIG_FILE for file in files):
        found.append(Violation("files", f"there is no {CONFIG_FILE} at the top of the folder"))
    if not any(file.path.endswith(WEIGHTS) for file in files):
        found.append(Violation("files", f"there are no weights: no {WEIGHTS} file"))
    return found


def architecture(config: object) -> str:
    """``architectures[0]`` of a parsed config.json; raises :class:`ValueError` without one."""
    names = config.get("architectures") if isinstance(config, dict) else None
    first = names[0] if isinstance(names, list) and names else None
    if not isinstance(first, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,128}", first):
        raise ValueError("has no architectures[0], such as 'GPT2LMHeadModel'")
    return first


def _file_problem(file: FileEntry) -> str | None:
    if file.path == CONFIG_FILE and file.size_bytes > MAX_CONFIG_BYTES:
        return f"has {file.size_bytes} bytes, at most {MAX_CONFIG_BYTES} allowed"
    return file_problem(file.path)
