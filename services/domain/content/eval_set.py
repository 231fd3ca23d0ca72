"""Imported eval sets: versioned JSON lines of eval items."""

from __future__ import annotations

from typing import ClassVar

from services.domain.content.version import Version, VersionHeader, VersionReference

EVAL_SET_FILE = "eval_set.jsonl"
"""The file of an eval set's artifact that holds the items."""


class EvalSetReference(VersionReference):
    """Reference in a run spec or resource name: an id, with or without a version."""

    NOUN: ClassVar[str] = "an eval set"
    COLLECTION: ClassVar[str] = "evalsets"


class EvalSetHeader(VersionHeader):
    """Header of an import of eval items."""

    ID: ClassVar[str] = "eval_set_id"


class EvalSet(Version):
    """One version of an eval set; its artifact has ``eval_set.jsonl``."""

    REFERENCE: ClassVar[type[VersionReference]] = EvalSetReference
