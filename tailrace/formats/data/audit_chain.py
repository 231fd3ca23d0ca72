"""The hash chain of the audit log, which the control plane makes and everybody can check.

The hash of an event is the sha256 of the hash before it and the event as canonical JSON, sequence
number included. A changed, missing, added or moved event breaks the chain at its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tailrace.formats.canonical import canonical_json

GENESIS = "0" * 64
"""Hash before the first event."""

FIELDS = (
    "sequence",
    "time",
    "project",
    "actor",
    "method",
    "resource",
    "peer",
    "request_id",
    "outcome",
    "reason",
    "suppressed",
)
"""Fields of an event that the chain hashes."""


@dataclass(frozen=True)
class Place:
    """A place in the chain."""

    sequence: int = 0
    """Position; 0 is before the first event."""
    hash: str = GENESIS
    """Hash at the position."""


class ChainError(ValueError):
    """The chain is broken; the message names the first event at which it is."""


def audit_time(time: datetime) -> str:
    """Return a time as the chain hashes it: UTC, with microseconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def link(previous: str, record: Mapping[str, Any]) -> str:
    """Return the hash of an event that follows the hash ``previous``."""
    hashed = {field: record[field] for field in FIELDS}
    return hashlib.sha256(f"{previous}{canonical_json(hashed)}".encode()).hexdigest()


def check_chain(
    anchor: Place, records: Iterable[Mapping[str, Any]], known: Sequence[Place]
) -> Place:
    """Check the events after ``anchor``, in order, and return the place of the last one.

    Args:
        anchor: Place of the last event that was deleted because of its age; the default before the
            first event.
        records: Events with :data:`FIELDS` and ``hash``.
        known: Places that the chain must have, such as its head as the control plane remembers it.

    Raises:
        ChainError: An event is missing, changed, added or moved, or a known place differs.
    """
    hashes = {place.sequence: place.hash for place in known}
    place = anchor
    _require_known(place, hashes)
    for record in records:
        place = _next(place, record)
        _require_known(place, hashes)
    newest = max(hashes, default=0)
    if newest > place.sequence:
        raise ChainError(_missing(place.sequence + 1, newest))
    return place


def _next(place: Place, record: Mapping[str, Any]) -> Place:
    sequence, expected = record["sequence"], place.sequence + 1
    if sequence > expected:
        raise ChainError(_missing(expected, sequence - 1))
    if sequence < expected:
        raise ChainError(f"event {sequence} is out of order: it follows event {place.sequence}")
    if link(place.hash, record) != record["hash"]:
        raise ChainError(
            f"event {sequence} was changed, added or moved: its hash does not follow from its "
            f"content and the hash of event {place.sequence}"
        )
    return Place(sequence, record["hash"])


def _require_known(place: Place, hashes: Mapping[int, str]) -> None:
    if hashes.get(place.sequence, place.hash) != place.hash:
        raise ChainError(
            f"event {place.sequence} has another hash than it had: events up to it were replaced"
        )


def _missing(first: int, last: int) -> str:
    return f"event {first} is missing" if first == last else f"events {first} to {last} are missing"
