"""Datasets: versions of JSON lines of traces."""

from __future__ import annotations

from typing import ClassVar

from services.domain.content.version import Version, VersionHeader, VersionReference

DATASET_FILE = "dataset.jsonl"
"""The file of a dataset's artifact that holds the traces."""

MANIFEST_FILE = "manifest.json"
"""The file of a dataset's artifact that says what it is."""


class DatasetReference(VersionReference):
    """What a run spec or a resource name says: an id and perhaps a version."""

    NOUN: ClassVar[str] = "a dataset"
    COLLECTION: ClassVar[str] = "datasets"


class DatasetHeader(VersionHeader):
    """What an import of traces says before its data."""

    ID: ClassVar[str] = "dataset_id"


class Dataset(Version):
    """One version of a dataset; its artifact has ``dataset.jsonl`` and ``manifest.json``."""

    REFERENCE: ClassVar[type[VersionReference]] = DatasetReference
