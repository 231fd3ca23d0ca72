"""Sizes of pages: by default a gRPC client accepts messages of up to 4 MiB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from services.domain.content.artifact import Artifact

T = TypeVar("T")

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""Size from which a page ends early, in bytes of its message; one entry may be larger."""

_VALUE_BYTES = 9
"""Bytes by which a JSON value may be longer in a message than as text: a number takes eight."""

_FILE_BYTES = 100
"""Bytes of a file's sha256, size and tags in a listing."""

ENTRY_BYTES = 500
"""Maximum size in bytes of an entry with short fields only."""


def take_fitting(sized: Sequence[tuple[int, T]], limit: int) -> list[T]:
    """Return the first entries that fit ``limit`` and :data:`MAX_PAGE_BYTES`, at least one.

    Args:
        sized: Entries, each with its size in bytes.
        limit: Maximum number of entries.
    """
    entries: list[T] = []
    total = 0
    for size, entry in sized[:limit]:
        total += size
        if entries and total > MAX_PAGE_BYTES:
            break
        entries.append(entry)
    return entries


def wire_size(text: str) -> int:
    """Return an upper bound for a message whose plain data is this text, as JSON or repr."""
    values = sum(map(text.count, ",:[{"))
    return len(text.encode("utf-8", "surrogatepass")) + _VALUE_BYTES * values


def text_size(text: str) -> int:
    """Return an upper bound for an entry whose only long field is this text."""
    return ENTRY_BYTES + len(text.encode("utf-8", "surrogatepass"))


def artifact_size(artifact: Artifact) -> int:
    """Return an upper bound for an artifact with its files."""
    return ENTRY_BYTES + sum(len(f.path.encode()) + _FILE_BYTES for f in artifact.listing.files)
