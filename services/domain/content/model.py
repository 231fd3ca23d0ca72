"""Imported models, and the rules for the files of a model folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain.content.artifact import Artifact
from services.domain.errors import InvalidInput
from tailrace.formats.listing import FileEntry
from tailrace.formats.model.chat_template import is_template_file
from tailrace.formats.model.files import MAX_TEMPLATES, size_problem
from tailrace.formats.model.folder import (
    MAX_WEIGHT_FILES,
    file_problem,
    is_weight_file,
    lacks,
)
from tailrace.formats.resource_id import MODEL_REFERENCE
from tailrace.formats.schema import Violation


@dataclass(frozen=True)
class Model:
    """A model folder in Hugging Face layout."""

    model_id: str
    """Id, as run specs name it: ``models/{model_id}``."""
    description: str
    """Description in a sentence."""
    architecture: str
    """``architectures[0]`` of the config.json."""
    artifact: Artifact
    """Files of the model."""
    create_time: datetime
    """Time of the import or promotion, in UTC."""
    version: int = 1
    """Number of the version, from 1."""
    run_uid: str | None = None
    """Run that trained it; None for an imported model."""
    force_reason: str = ""
    """Reason for promoting a run that has not passed gates; empty otherwise."""

    @property
    def name(self) -> str:
        """Resource name, ``models/{model}``."""
        return f"models/{self.model_id}"

    @property
    def versioned_name(self) -> str:
        """Name of this version, ``models/{model}@{version}``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class ModelReference:
    """Reference to a version of a model."""

    model_id: str
    version: int | None
    """Number of the version; None for an alias, or for the newest version."""
    alias: str = ""
    """Alias of the version; empty without one."""

    @classmethod
    def parse(cls, name: str, field: str) -> ModelReference:
        """Read ``models/{model}[@{version or alias}]``; raise :class:`InvalidInput` otherwise."""
        if not re.fullmatch(MODEL_REFERENCE, name):
            form = "models/{model}, models/{model}@{version} or models/{model}@{alias}"
            raise InvalidInput.field(field, f"{name[:200]!r} is not of the form {form}")
        model_id, _, choice = name.partition("/")[2].partition("@")
        if choice.isdigit():
            return cls(model_id, int(choice))
        return cls(model_id, None, choice)


@dataclass(frozen=True)
class AliasMove:
    """A move of an alias; version 0 stands for no version."""

    alias: str
    from_version: int
    to_version: int
    time: datetime


def folder_violations(files: Sequence[FileEntry]) -> list[Violation]:
    """Return the violations of files that do not belong in a model folder or are missing from it.

    The rules for paths are :func:`tailrace.formats.listing.listing_violations`.
    """
    violations = []
    for i, file in enumerate(files):
        problem = _file_problem(file)
        if problem is not None:
            violations.append(Violation(f"files[{i}].path", f"{file.path[:200]!r} {problem}"))
    paths = {file.path for file in files}
    sentences = (*lacks(paths), *_excess_sentences(paths))
    return [*violations, *(Violation("files", sentence) for sentence in sentences)]


def _excess_sentences(paths: Collection[str]) -> Iterator[str]:
    if sum(map(is_weight_file, paths)) > MAX_WEIGHT_FILES:
        yield f"there are more than {MAX_WEIGHT_FILES} weight files"
    if sum(map(is_template_file, paths)) > MAX_TEMPLATES:
        yield f"there are more than {MAX_TEMPLATES} chat templates"


def _file_problem(file: FileEntry) -> str | None:
    return size_problem(file.path, file.size_bytes) or file_problem(file.path)
