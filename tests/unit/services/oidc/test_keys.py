"""The issuer's keys: rotation, floods, and an issuer that misbehaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from services.domain.errors import Unauthenticated, Unavailable
from services.oidc import keys
from services.oidc.configuration import OidcConfiguration
from services.oidc.verifier import Verifier
from tailrace.oidc.web import WebError
from tests.servers.oidc_provider import (
    OidcProvider,
    huge,
    oidc_provider,
    redirect,
    silence,
    slow_header,
)


def fetches(provider: OidcProvider) -> int:
    return provider.requests.count("/keys")


async def test_a_flood_of_unknown_keys_fetches_once(
    provider: OidcProvider, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = provider.token()
    await verifier.identity(text)
    assert fetches(provider) == 1
    monkeypatch.setattr(verifier._keys, "_tried", -keys.FETCH_SECONDS)

    async def attack(number: int) -> None:
        _header, payload, signature = text.split(".")
        other = jwt.encode({}, provider.private_key(), "ES256", headers={"kid": f"k{number}"})
        with pytest.raises(Unauthenticated, match="at most once a minute"):
            await verifier.identity(f"{other.split('.')[0]}.{payload}.{signature}")

    await asyncio.gather(*(attack(number) for number in range(100)))
    for number in range(100, 200):
        await attack(number)
    assert fetches(provider) == 2
    await verifier.identity(text)


async def test_a_new_key_is_fetched_and_a_withdrawn_one_ends(
    configuration: OidcConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    with oidc_provider() as rotating:
        rotating.claims = {"groups": ["team"]}
        values = {**configuration.model_dump(), "issuer": rotating.issuer}
        verifier = Verifier(OidcConfiguration.model_validate(values))
        first = rotating.token()
        await verifier.identity(first)
        rotating.rotate()
        # The last fetch was a moment ago.
        with pytest.raises(Unauthenticated, match="at most once a minute"):
            await verifier.identity(rotating.token())
        monkeypatch.setattr(verifier._keys, "_tried", -keys.FETCH_SECONDS)
        await verifier.identity(rotating.token())
        await verifier.identity(first)
        assert fetches(rotating) == 2
        rotating.rotate(keep=0)
        # Old keys are fetched again in the background, once.
        monkeypatch.setattr(keys, "RENEW_SECONDS", 0.0)
        monkeypatch.setattr(verifier._keys, "_tried", -keys.FETCH_SECONDS)
        await verifier.identity(first)
        await asyncio.wait([verifier._keys._fetching])  # type: ignore[list-item]
        with pytest.raises(Unauthenticated, match="does not list"):
            await verifier.identity(first)
        assert fetches(rotating) == 3
        # While the issuer is away, keys count for a while.
        rotating.faults["/keys"] = redirect
        monkeypatch.setattr(verifier._keys, "_tried", -keys.FETCH_SECONDS)
        await verifier.identity(rotating.token())
        await asyncio.wait([verifier._keys._fetching])  # type: ignore[list-item]
        await verifier.identity(rotating.token())
        monkeypatch.setattr(keys, "STALE_SECONDS", 0.0)
        with pytest.raises(Unavailable) as error:
            await verifier.identity(rotating.token())
        assert error.value.reason == "ISSUER_UNAVAILABLE"
        await verifier.close()


@pytest.mark.parametrize("fault", [redirect, huge, lambda handler: handler.answer(200, {})])
@pytest.mark.parametrize("path", ["/keys", "/.well-known/openid-configuration"])
async def test_without_keys_the_issuer_is_unavailable(
    path: str, fault: Callable[[Any], None], provider: OidcProvider, verifier: Verifier
) -> None:
    provider.faults[path] = fault
    for _ in range(20):
        with pytest.raises(Unavailable, match="try again in a minute"):
            await verifier.identity(provider.token())
    assert provider.requests.count(path) == 1


@pytest.mark.parametrize("fault", [silence, slow_header])
async def test_a_slow_issuer_delays_its_own_tokens_alone(
    fault: Callable[[Any], None],
    provider: OidcProvider,
    verifier: Verifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "WAIT_SECONDS", 0.2)
    provider.faults["/keys"] = fault
    text = provider.token()
    began = time.monotonic()
    calls = [asyncio.create_task(verifier.identity(text)) for _ in range(20)]
    slowest = 0.0
    while not all(call.done() for call in calls):
        before = time.monotonic()
        await asyncio.sleep(0.005)
        slowest = max(slowest, time.monotonic() - before)
    assert time.monotonic() - began < 1
    assert slowest < 0.1
    for call in calls:
        assert isinstance(call.exception(), Unavailable)
    assert fetches(provider) == 1


def test_unusable_keys_are_left_out(provider: OidcProvider) -> None:
    (entry, *_) = provider.jwks()["keys"]
    rsa = {"kty": "RSA", "kid": "r", "e": "AQAB"}
    unusable = [
        {**entry, "use": "enc"},
        {**entry, "alg": "HS256"},
        {**entry, "d": "AA"},
        {**entry, "kid": 7},
        {**entry, "x": "AA"},
        {**entry, "x": None},
        {**entry, "crv": "secp256k1"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "HS256"},
        {**rsa, "n": "A" * 100_000},
        # 1024 bits.
        {**rsa, "n": "v" * 171},
        "text",
        None,
    ]
    assert list(keys.parse_keys("u", {"keys": [*unusable, entry]})) == [entry["kid"]]
    for document, problem in (
        ({"keys": unusable}, "no key that can be used"),
        ({"keys": [entry] * 101}, "has 101 keys, at most 100"),
        ({"keys": {}}, "is not a JWK set"),
    ):
        with pytest.raises(WebError, match=problem):
            keys.parse_keys("u", document)
