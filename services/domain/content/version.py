"""Versions of JSON lines under one id, and references to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

from services.domain.errors import InvalidInput
from services.domain.names import description_violations, id_violations
from tailrace.formats.resource_id import VERSIONED_ID


@dataclass(frozen=True)
class VersionReference:
    """What a run spec or a resource name says; made concrete by its noun and collection."""

    NOUN: ClassVar[str]
    """What it is, with its article: ``a dataset``."""
    COLLECTION: ClassVar[str]
    """The first part of its resource names: ``datasets``."""

    id: str
    """The id that versions share."""
    version: int | None
    """The version; ``None`` for the newest."""

    @classmethod
    def parse(cls, text: str, field: str) -> Self:
        """Read ``name`` or ``name@version``; raises :class:`InvalidInput` at ``field``."""
        match = re.fullmatch(VERSIONED_ID, text)
        if match is None:
            raise InvalidInput.field(
                field, f"{text[:200]!r} is not {cls.NOUN}: use 'name' or 'name@version'"
            )
        id_, _, version = text.partition("@")
        return cls(id_, int(version) if version else None)

    @classmethod
    def parse_name(cls, name: str) -> Self:
        """Read ``{collection}/{id}[@{version}]``; raises :class:`InvalidInput` at ``name``."""
        collection, _, reference = name.partition("/")
        if collection != cls.COLLECTION:
            form = f"{cls.COLLECTION}/{{name}}[@{{version}}]"
            raise InvalidInput.field("name", f"{name[:200]!r} is not of the form {form}")
        return cls.parse(reference, "name")

    def __str__(self) -> str:
        return self.id if self.version is None else f"{self.id}@{self.version}"


@dataclass(frozen=True)
class VersionHeader:
    """What an import says before its data; made concrete by the field of its id."""

    ID: ClassVar[str]
    """The field of the request's header that has the id: ``dataset_id``."""

    id: str
    """The id that versions share."""
    description: str
    """What it is, in a sentence."""

    def __post_init__(self) -> None:
        violations = [
            *id_violations(f"header.{self.ID}", self.id),
            *description_violations("header.description", self.description),
        ]
        if violations:
            raise InvalidInput(violations)


@dataclass(frozen=True)
class Lines:
    """What a version holds, apart from its name."""

    sha256: str
    """sha256 of the JSON lines."""
    size_bytes: int
    """Size of the JSON lines."""
    count: int
    """Number of lines: traces, items."""
    prompt_count: int
    """Number of distinct prompts."""


@dataclass(frozen=True)
class Version:
    """One version; its content never changes. Made concrete by what refers to it."""

    REFERENCE: ClassVar[type[VersionReference]]
    """What refers to such versions."""

    id: str
    """The id, as run specs name it."""
    version: int
    """From 1."""
    description: str
    """What it is, in a sentence."""
    lines: Lines
    """What it holds."""
    artifact_digest: str
    """Digest of the artifact with its files."""
    create_time: datetime
    """When this version was made, in UTC."""

    @property
    def reference(self) -> str:
        """``name@version``, as resolved run specs name it."""
        return f"{self.id}@{self.version}"

    @property
    def name(self) -> str:
        """``{collection}/{id}@{version}``."""
        return f"{self.REFERENCE.COLLECTION}/{self.reference}"
