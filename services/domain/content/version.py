"""Versioned JSON lines under one id, and references to them."""

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
    """Reference in a run spec or resource name; subclasses set noun and collection."""

    NOUN: ClassVar[str]
    """Noun with its article: ``a dataset``."""
    COLLECTION: ClassVar[str]
    """First part of the resource names: ``datasets``."""

    id: str
    """Id that versions share."""
    version: int | None
    """Version; ``None`` for the newest."""

    @classmethod
    def parse(cls, text: str, field: str) -> Self:
        """Read ``name`` or ``name@version``; raise :class:`InvalidInput` at ``field``."""
        match = re.fullmatch(VERSIONED_ID, text)
        if match is None:
            raise InvalidInput.field(
                field, f"{text[:200]!r} is not {cls.NOUN}: use 'name' or 'name@version'"
            )
        id_, _, version = text.partition("@")
        return cls(id_, int(version) if version else None)

    @classmethod
    def parse_name(cls, name: str) -> Self:
        """Read ``{collection}/{id}[@{version}]``; raise :class:`InvalidInput` at ``name``."""
        collection, _, reference = name.partition("/")
        if collection != cls.COLLECTION:
            form = f"{cls.COLLECTION}/{{name}}[@{{version}}]"
            raise InvalidInput.field("name", f"{name[:200]!r} is not of the form {form}")
        return cls.parse(reference, "name")

    def __str__(self) -> str:
        return self.id if self.version is None else f"{self.id}@{self.version}"


@dataclass(frozen=True)
class VersionHeader:
    """Header of an import; subclasses set the field of its id."""

    ID: ClassVar[str]
    """Field of the request's header with the id: ``dataset_id``."""

    id: str
    """Id that versions share."""
    description: str
    """Description in a sentence."""

    def __post_init__(self) -> None:
        violations = [
            *id_violations(f"header.{self.ID}", self.id),
            *description_violations("header.description", self.description),
        ]
        if violations:
            raise InvalidInput(violations)


@dataclass(frozen=True)
class Lines:
    """Content of a version."""

    sha256: str
    """sha256 of the JSON lines."""
    size_bytes: int
    """Size of the JSON lines."""
    count: int
    """Number of lines: records, items."""
    prompt_count: int
    """Number of distinct prompts."""


@dataclass(frozen=True)
class Version:
    """One version, whose content never changes; subclasses set the reference's type."""

    REFERENCE: ClassVar[type[VersionReference]]
    """Type of references to such versions."""

    id: str
    """Id, as run specs name it."""
    version: int
    """Number of the version, from 1."""
    description: str
    """Description in a sentence."""
    lines: Lines
    """Content."""
    artifact_digest: str
    """Digest of the artifact with its files."""
    create_time: datetime
    """Time of creation, in UTC."""

    @property
    def reference(self) -> str:
        """Reference in resolved run specs, ``name@version``."""
        return f"{self.id}@{self.version}"

    @property
    def name(self) -> str:
        """Resource name, ``{collection}/{id}@{version}``."""
        return f"{self.REFERENCE.COLLECTION}/{self.reference}"
