"""Imported eval sets: versions of JSON lines of eval items."""

from __future__ import annotations

from typing import ClassVar

from services.domain.content.version import Version, VersionHeader, VersionReference

EVAL_SET_FILE = "eval_set.jsonl"
"""The file of an eval set's artifact that holds the items."""


class EvalSetReference(VersionReference):
    """What a run spec or a resource name says: an id and perhaps a version."""

    NOUN: ClassVar[str] = "an eval set"
    COLLECTION: ClassVar[str] = "evalsets"


class EvalSetHeader(VersionHeader):
    """What an import of eval items says before its data."""

    ID: ClassVar[str] = "eval_set_id"


class EvalSet(Version):
    """One version of an eval set; its artifact has ``eval_set.jsonl``."""

    REFERENCE: ClassVar[type[VersionReference]] = EvalSetReference
