"""Public keys of the issuer, fetched off the event loop and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jwt
import structlog

from services.domain.errors import Unavailable
from tailrace.oidc.provider import discover
from tailrace.oidc.web import Web, WebError

_log = structlog.get_logger(__name__)

FETCH_SECONDS = 60.0
"""Shortest time between two fetches, whatever key ids arrive."""

RENEW_SECONDS = 600.0
"""Age from which keys are fetched again, so that a withdrawn one stops to count."""

STALE_SECONDS = 3600.0
"""Age from which keys do not count, if the issuer cannot be reached."""

WAIT_SECONDS = 5.0
"""Longest time for which a call waits for keys."""

MAX_KEYS = 100

_MAX_RSA_CHARACTERS = 1366
"""Length of a modulus of 8192 bits in base64url: checking larger ones takes long."""

_ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Algorithms of a kind of key."""


@dataclass(frozen=True)
class PublicKey:
    """A key of the issuer."""

    key: Any
    """The key, as PyJWT and cryptography have it."""
    algorithms: tuple[str, ...]
    """Algorithms of signatures that the key may verify."""


class IssuerKeys:
    """Keys of one issuer as this replica knows them."""

    def __init__(self, issuer: str, web: Web) -> None:
        self._issuer = issuer
        self._web = web
        self._keys: Mapping[str, PublicKey] = {}
        self._fetched = -STALE_SECONDS
        self._tried = -FETCH_SECONDS
        self._fetching: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, "issuer-keys")

    async def get(self, key_id: str) -> PublicKey | None:
        """Return a key; ``None`` if the issuer has none of this id.

        Raises:
            Unavailable: No key is known, and the issuer does not answer (ISSUER_UNAVAILABLE).
        """
        age = time.monotonic() - self._fetched
        if age < STALE_SECONDS and key_id in self._keys:
            if age > RENEW_SECONDS:
                self._start()
            return self._keys[key_id]
        task = self._start()
        if task is not None:
            await asyncio.wait([task], timeout=WAIT_SECONDS)
        if time.monotonic() - self._fetched >= STALE_SECONDS:
            raise Unavailable(
                "ISSUER_UNAVAILABLE",
                f"the keys of the issuer {self._issuer} are unavailable: try again in a minute; "
                "the control plane's log has the cause",
            )
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Give up a fetch in progress."""
        if self._fetching is not None:
            self._fetching.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> asyncio.Task[None] | None:
        """Return the fetch in progress, or a new one; ``None`` if the last one is too recent."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = time.monotonic()
        if now - self._tried < FETCH_SECONDS:
            return None
        self._tried = now
        self._fetching = asyncio.create_task(self._fetch(), name="issuer keys")
        return self._fetching

    async def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        try:
            keys = await loop.run_in_executor(self._executor, self._load)
        except WebError as error:
            _log.warning("the issuer's keys are unavailable", error=str(error))
            return
        self._keys, self._fetched = keys, began
        _log.info("fetched the issuer's keys", issuer=self._issuer, keys=len(keys))

    def _load(self) -> Mapping[str, PublicKey]:
        provider = discover(self._issuer, self._web)
        return parse_keys(provider.jwks_uri, self._web.get(provider.jwks_uri).body)


def parse_keys(url: str, document: Mapping[str, object]) -> Mapping[str, PublicKey]:
    """Return the keys of a JWK set by id, without those that cannot verify signatures here.

    Raises:
        WebError: The document is not a JWK set, has too many keys, or none that can be used.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise WebError(f"{url!r} is not a JWK set")
    if len(entries) > MAX_KEYS:
        raise WebError(f"{url!r} has {len(entries)} keys, at most {MAX_KEYS} allowed")
    keys: dict[str, PublicKey] = {}
    for entry in entries:
        key = _parse(entry) if isinstance(entry, dict) else None
        if key is not None:
            keys.setdefault(entry["kid"], key)
    if not keys:
        raise WebError(f"{url!r} has no key that can be used")
    return keys


def _parse(entry: dict[str, Any]) -> PublicKey | None:
    kid, use = entry.get("kid"), entry.get("use", "sig")
    # RFC 7517, section 5: keys that one does not understand are left out.
    if not isinstance(kid, str) or use != "sig" or "d" in entry:
        return None
    kind = (str(entry.get("kty")), "" if entry.get("kty") == "RSA" else str(entry.get("crv")))
    algorithms = _ALGORITHMS.get(kind, ())
    if "alg" in entry:
        algorithms = tuple(name for name in algorithms if name == entry["alg"])
    if not algorithms or len(str(entry.get("n", ""))) > _MAX_RSA_CHARACTERS:
        return None
    try:
        key: Any = jwt.get_algorithm_by_name(algorithms[0])
        key = key.from_jwk(entry)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    return PublicKey(key, algorithms) if kind[0] != "RSA" or key.key_size >= 2048 else None
