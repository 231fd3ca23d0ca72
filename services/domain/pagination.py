"""Page tokens (AIP-158), opaque to clients and bound to their query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.domain.errors import InvalidInput
from tailrace.formats.canonical import sha256_json
from tailrace.formats.limits import MAX_PAGE_ENTRIES


def page_size(requested: int, *, default: int, maximum: int = MAX_PAGE_ENTRIES) -> int:
    """Return the size of a page: ``default`` for 0, capped at ``maximum``.

    Raises:
        InvalidInput: The size is negative.
    """
    if requested < 0:
        raise InvalidInput.field("page_size", f"must not be negative, not {requested}")
    return min(requested or default, maximum)


def encode_page_token(position: Sequence[str | int | datetime], query: object) -> str:
    """Return the token that continues after ``position``.

    ``query`` is plain data of what must not change between pages: the project and fields.
    """
    plain = [entry.isoformat() if isinstance(entry, datetime) else entry for entry in position]
    body = json.dumps({"p": plain, "q": _fingerprint(query)}, separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_page_token(
    token: str, query: object, shape: Sequence[type[str] | type[int] | type[datetime]]
) -> list[Any] | None:
    """Return the position of a token, or ``None`` for an empty token.

    Args:
        token: The token.
        query: Plain data of the fields that must not change between pages.
        shape: Types of the position's entries.

    Raises:
        InvalidInput: The token is broken or belongs to another query.
    """
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        body = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        fingerprint = body["q"]
        position = [_entry(kind, entry) for kind, entry in zip(shape, body["p"], strict=True)]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput.field("page_token", "is not a page token of this server") from None
    if fingerprint != _fingerprint(query):
        raise InvalidInput.field(
            "page_token", "belongs to a request with another filter, order, parent or project"
        )
    return position


def _entry(kind: type[str] | type[int] | type[datetime], entry: object) -> str | int | datetime:
    """One entry of a position; raises ``ValueError`` for what no server wrote."""
    if kind is datetime and isinstance(entry, str):
        moment = datetime.fromisoformat(entry)
        if moment.tzinfo is not None:
            return moment
    elif kind is str and isinstance(entry, str) and "\0" not in entry:
        entry.encode()
        return entry
    elif kind is int and type(entry) is int and abs(entry) < 2**63:
        return entry
    raise ValueError(entry)


def _fingerprint(query: object) -> str:
    return sha256_json(query)[:16]
