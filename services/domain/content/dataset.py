"""Datasets: versioned JSON lines of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from services.domain.content.version import Version, VersionHeader, VersionReference
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.limits import MAX_FILTER
from tailrace.formats.resource_id import RUN_NAME, RUN_NAME_FORM
from tailrace.formats.schema import key

DATASET_FILE = "dataset.jsonl"
"""The file of a dataset's artifact that holds the lines."""

MANIFEST_FILE = "manifest.json"
"""The file of a dataset's artifact that describes it."""


class DatasetReference(VersionReference):
    """Reference in a run spec or resource name: an id, with or without a version."""

    NOUN: ClassVar[str] = "a dataset"
    COLLECTION: ClassVar[str] = "datasets"


@dataclass(frozen=True)
class Lineage:
    """Source of a dataset that was derived from the predictions of a run."""

    run: str = key("Run, `runs/{run}`.", minimum=1, pattern=RUN_NAME, form=RUN_NAME_FORM)
    judge: str = key("Judge whose verdicts selected the predictions.", minimum=1, max_length=128)
    judge_version: str = key("Version of the judge.", minimum=1, max_length=128)
    where: str = key("Condition on the verdicts.", minimum=1, max_length=MAX_FILTER)


@dataclass(frozen=True)
class DatasetHeader(VersionHeader):
    """Header of an import."""

    ID: ClassVar[str] = "dataset_id"

    kind: DatasetKind | None = None
    """Kind of the lines; None for the kind of the first line."""
    lineage: Lineage | None = None
    """Source of a derived dataset."""


@dataclass(frozen=True)
class Dataset(Version):
    """One version of a dataset; its artifact has ``dataset.jsonl`` and ``manifest.json``."""

    REFERENCE: ClassVar[type[VersionReference]] = DatasetReference

    kind: DatasetKind = DatasetKind.TRACE
    """Kind of the lines."""
    lineage: Lineage | None = None
    """Source of a derived dataset."""
