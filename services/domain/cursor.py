"""Cursors: where a reader of a run's logs or metrics continues."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from services.domain.errors import InvalidInput

_VERSION = "1"
_MAX = 2**63 - 1


@dataclass(frozen=True, order=True)
class Cursor:
    """A place between two records: the next one follows it, in this attempt or a later one."""

    ordinal: int = 0
    """Ordinal of the stage."""
    attempt: int = 0
    """Number of the attempt; 0 stands before the first."""
    sequence: int = 0
    """Records of that attempt that were read."""

    def past(self) -> Cursor:
        """The place after this attempt's end marker."""
        return Cursor(self.ordinal, self.attempt + 1)

    def encode(self) -> str:
        """The opaque text that clients carry."""
        body = f"{_VERSION}.{self.ordinal}.{self.attempt}.{self.sequence}"
        return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """The cursor of its text, the start for no text; raises :class:`InvalidInput`."""
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
        raise InvalidInput.field("cursor", "is not a cursor that this server gave out")
    return Cursor(ordinal, attempt, sequence)
