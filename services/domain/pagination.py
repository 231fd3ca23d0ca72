"""Page tokens (AIP-158): opaque to clients, bound to the query that made them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from services.domain.errors import InvalidInput
from tailrace.formats.canonical import sha256_json


def page_size(asked: int, *, default: int, maximum: int = 1000) -> int:
    """The size of a page: ``default`` for 0, capped at ``maximum``.

    Raises :class:`InvalidInput` for a negative size.
    """
    if asked < 0:
        raise InvalidInput.field("page_size", f"must not be negative, not {asked}")
    return min(asked or default, maximum)


def encode_page_token(position: Sequence[str | int], query: object) -> str:
    """The token that continues after ``position``.

    ``query`` is plain data of the fields that must not change between pages.
    """
    body = json.dumps({"p": list(position), "q": _fingerprint(query)}, separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_page_token(
    token: str, query: object, shape: Sequence[type[str] | type[int]]
) -> list[Any] | None:
    """The position of a token, its entries of the types in ``shape``; ``None`` for no token.

    Raises :class:`InvalidInput` for a token that is broken or belongs to another query.
    """
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        body = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        position, fingerprint = body["p"], body["q"]
        fits = isinstance(position, list) and [type(entry) for entry in position] == list(shape)
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        fits, position, fingerprint = False, [], ""
    if not fits:
        raise InvalidInput.field("page_token", "is not a token that this server gave out")
    if fingerprint != _fingerprint(query):
        raise InvalidInput.field(
            "page_token", "belongs to a request with another filter, order or parent"
        )
    return list(position)


def _fingerprint(query: object) -> str:
    return sha256_json(query)[:16]
