"""Datasets: versions of JSON lines of traces."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from services.domain.errors import InvalidInput
from services.domain.names import description_violations, id_violations
from services.domain.version import VersionReference

DATASET_FILE = "dataset.jsonl"
"""The file of a dataset's artifact that holds the traces."""

MANIFEST_FILE = "manifest.json"
"""The file of a dataset's artifact that says what it is."""


@dataclass(frozen=True)
class DatasetReference(VersionReference):
    """What a run spec or a resource name says: an id and perhaps a version."""

    NOUN: ClassVar[str] = "a dataset"
    COLLECTION: ClassVar[str] = "datasets"


@dataclass(frozen=True)
class DatasetHeader:
    """What an import says before its data."""

    dataset_id: str
    """The id that versions share."""
    description: str
    """What it is, in a sentence."""

    def __post_init__(self) -> None:
        violations = [
            *id_violations("header.dataset_id", self.dataset_id),
            *description_violations("header.description", self.description),
        ]
        if violations:
            raise InvalidInput(violations)


@dataclass(frozen=True)
class DatasetContent:
    """What a version holds, apart from its name."""

    sha256: str
    """sha256 of the JSON lines."""
    size_bytes: int
    """Size of the JSON lines."""
    trace_count: int
    """Number of traces."""
    prompt_count: int
    """Number of distinct prompts."""


@dataclass(frozen=True)
class Dataset:
    """One version of a dataset; its content never changes."""

    dataset_id: str
    """The id, as run specs name it."""
    version: int
    """From 1."""
    description: str
    """What it is, in a sentence."""
    content: DatasetContent
    """What it holds."""
    artifact_digest: str
    """Digest of the artifact with ``dataset.jsonl`` and ``manifest.json``."""
    create_time: datetime
    """When this version was made, in UTC."""

    @property
    def reference(self) -> str:
        """``name@version``, as resolved run specs name it."""
        return f"{self.dataset_id}@{self.version}"

    @property
    def name(self) -> str:
        """``datasets/{dataset}@{version}``."""
        return f"datasets/{self.reference}"
