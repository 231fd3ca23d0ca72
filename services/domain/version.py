"""References to what has versions: an id and perhaps a version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from services.domain.errors import InvalidInput
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
