"""Datasets: versioned JSON lines of traces."""

from __future__ import annotations

from typing import ClassVar

from services.domain.content.version import Version, VersionHeader, VersionReference

DATASET_FILE = "dataset.jsonl"
"""The file of a dataset's artifact that holds the traces."""

MANIFEST_FILE = "manifest.json"
"""The file of a dataset's artifact that describes it."""


class DatasetReference(VersionReference):
    """Reference in a run spec or resource name: an id, with or without a version."""

    NOUN: ClassVar[str] = "a dataset"
    COLLECTION: ClassVar[str] = "datasets"


class DatasetHeader(VersionHeader):
    """Header of an import of traces."""

    ID: ClassVar[str] = "dataset_id"


class Dataset(Version):
    """One version of a dataset; its artifact has ``dataset.jsonl`` and ``manifest.json``."""

    REFERENCE: ClassVar[type[VersionReference]] = DatasetReference
