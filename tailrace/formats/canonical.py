"""Canonical JSON, one byte sequence for each value, and digests that both sides compute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys, no spaces and unescaped text.

    Text, booleans and integers have the form of RFC 8785; floats have Python's shortest round-trip
    form.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON lacks.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_json(value: Any) -> str:
    """Return the hex sha256 of the canonical JSON of ``value``, encoded as UTF-8."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def extend_chain(digest: bytes, records: Iterable[bytes]) -> bytes:
    """Return the digest chain after more records: d = sha256(d ‖ record), d empty at first.

    The chain over an attempt's records shows that none is missing, duplicated or changed.
    """
    for record in records:
        digest = hashlib.sha256(digest + record).digest()
    return digest
