"""The digest chain over an attempt's records: shows that none is missing, doubled or changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def chain(digest: bytes, records: Iterable[bytes]) -> bytes:
    """The chain after more records: d = sha256(d ‖ record), d empty at first."""
    for record in records:
        digest = hashlib.sha256(digest + record).digest()
    return digest
