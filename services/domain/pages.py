"""The size of pages: by default a gRPC client takes messages of up to 4 MiB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from services.domain.content.artifact import Artifact

T = TypeVar("T")

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""Size from which a page ends early, in bytes of its message; one entry may be larger."""

_VALUE_BYTES = 9
"""Bytes by which a value of JSON may be longer in a message than as text: a number takes eight."""

_FILE_BYTES = 100
"""Bytes of a file's sha256, size and tags in a listing."""

ENTRY_BYTES = 500
"""Most bytes of an entry that has short fields only."""


def fitting(sized: Sequence[tuple[int, T]], limit: int) -> list[T]:
    """The first of entries with sizes: at most ``limit`` and :data:`MAX_PAGE_BYTES`, not none."""
    kept: list[T] = []
    total = 0
    for size, entry in sized[:limit]:
        total += size
        if kept and total > MAX_PAGE_BYTES:
            break
        kept.append(entry)
    return kept


def wire_size(text: str) -> int:
    """The most that a message takes whose plain data is this text, JSON or Python's."""
    values = sum(map(text.count, ",:[{"))
    return len(text.encode("utf-8", "surrogatepass")) + _VALUE_BYTES * values


def text_size(text: str) -> int:
    """The most that an entry takes whose one long field is this text."""
    return ENTRY_BYTES + len(text.encode("utf-8", "surrogatepass"))


def artifact_size(artifact: Artifact) -> int:
    """The most that an artifact with its files takes."""
    return ENTRY_BYTES + sum(len(f.path.encode()) + _FILE_BYTES for f in artifact.listing.files)
