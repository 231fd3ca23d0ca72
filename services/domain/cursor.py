"""Cursors: the places at which readers of a run's logs or metrics continue."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from services.domain.errors import InvalidInput

_VERSION = "1"
_MAX = 2**63 - 1


@dataclass(frozen=True, order=True)
class Cursor:
    """A place between two records; the next record is of this attempt or a later one."""

    ordinal: int = 0
    """Ordinal of the stage."""
    attempt: int = 0
    """Number of the attempt; 0 for the place before the first."""
    sequence: int = 0
    """Number of records of that attempt before the place."""

    def after_attempt(self) -> Cursor:
        """Return the place after this attempt's end marker."""
        return Cursor(self.ordinal, self.attempt + 1)

    def encode(self) -> str:
        """Return the opaque text for clients."""
        body = f"{_VERSION}.{self.ordinal}.{self.attempt}.{self.sequence}"
        return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """Return the cursor of a text, or the start for an empty text.

    Raises:
        InvalidInput: The text is not a cursor.
    """
    if not text:
        return Cursor()
    try:
        padded = text + "=" * (-len(text) % 4)
        body = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        version, *parts = body.split(".")
        ordinal, attempt, sequence = (int(part) for part in parts)
        fits = version == _VERSION and all(0 <= n <= _MAX for n in (ordinal, attempt, sequence))
    except (binascii.Error, ValueError):
        fits = False
    if not fits:
        raise InvalidInput.field("cursor", "is not a cursor of this server")
    return Cursor(ordinal, attempt, sequence)
