"""Imported eval sets: versions of JSON lines of eval items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from services.domain.errors import InvalidInput
from services.domain.names import description_violations, id_violations
from services.domain.version import VersionReference

EVAL_SET_FILE = "eval_set.jsonl"
"""The file of an eval set's artifact that holds the items."""


@dataclass(frozen=True)
class EvalSetReference(VersionReference):
    """What a run spec or a resource name says: an id and perhaps a version."""

    NOUN: ClassVar[str] = "an eval set"
    COLLECTION: ClassVar[str] = "evalsets"


@dataclass(frozen=True)
class EvalSetHeader:
    """What an import says before its data."""

    eval_set_id: str
    """The id that versions share."""
    description: str
    """What it is, in a sentence."""

    def __post_init__(self) -> None:
        violations = [
            *id_violations("header.eval_set_id", self.eval_set_id),
            *description_violations("header.description", self.description),
        ]
        if violations:
            raise InvalidInput(violations)


@dataclass(frozen=True)
class EvalSetContent:
    """What a version holds, apart from its name."""

    sha256: str
    """sha256 of the JSON lines."""
    size_bytes: int
    """Size of the JSON lines."""
    item_count: int
    """Number of items."""
    prompt_count: int
    """Number of distinct prompts."""


@dataclass(frozen=True)
class EvalSet:
    """One version of an eval set; its content never changes."""

    eval_set_id: str
    """The id, as run specs name it."""
    version: int
    """From 1."""
    description: str
    """What it is, in a sentence."""
    content: EvalSetContent
    """What it holds."""
    artifact_digest: str
    """Digest of the artifact with ``eval_set.jsonl``."""
    create_time: datetime
    """When this version was made, in UTC."""

    @property
    def reference(self) -> str:
        """``name@version``, as resolved run specs name it."""
        return f"{self.eval_set_id}@{self.version}"

    @property
    def name(self) -> str:
        """``evalsets/{evalset}@{version}``."""
        return f"evalsets/{self.reference}"
