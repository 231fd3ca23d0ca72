"""Tokens that are not the issuer's, not for here, not valid now, or not what they seem."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.domain.errors import DomainError, PermissionDenied, Unauthenticated
from services.domain.scope import Role, Scope
from services.oidc.verifier import LEEWAY_SECONDS, Verifier, is_jwt
from tests.servers.oidc_provider import AUDIENCE, CLIENT_ID, OidcProvider


def encoded(part: object) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def forged(provider: OidcProvider, header: dict[str, Any], **claims: Any) -> str:
    """A token with another header, signed with the provider's key all the same."""
    payload = jwt.decode(provider.token(**claims), options={"verify_signature": False})
    return jwt.encode(
        payload,
        provider.private_key(),
        algorithm="ES256",
        headers={"kid": provider.key_ids[-1], **header},
    )


async def problem(verifier: Verifier, text: str) -> str:
    with pytest.raises(Unauthenticated) as error:
        await verifier.identity(text)
    assert error.value.reason == "OIDC_TOKEN_INVALID"
    return error.value.message.removeprefix("the token of the identity provider ")


async def test_a_valid_token_is_an_identity(provider: OidcProvider, verifier: Verifier) -> None:
    identity = await verifier.identity(provider.token("ada"))
    assert identity.subject == f"oidc:{provider.issuer}#ada"
    assert identity.roles == {"default": Role.EDITOR}
    assert identity.scopes == frozenset()
    assert identity.expire_time is not None
    assert not identity.is_id_token
    admin = await verifier.identity(provider.token(groups=["admins", "team"]))
    assert admin.scopes == {Scope.ADMIN}


async def test_an_expiry_after_the_last_date_is_accepted(
    provider: OidcProvider, verifier: Verifier
) -> None:
    identity = await verifier.identity(provider.token(exp=10**15))
    assert identity.expire_time is not None
    assert identity.expire_time.year > 2200


async def test_a_token_of_several_audiences_is_valid_for_each(
    provider: OidcProvider, verifier: Verifier
) -> None:
    await verifier.identity(provider.token(audience=["account", AUDIENCE]))


async def test_the_algorithm_is_not_the_tokens_choice(
    provider: OidcProvider, verifier: Verifier
) -> None:
    header, payload, _signature = provider.token().split(".")
    kid = provider.key_ids[-1]
    public = provider.private_key().public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(provider.jwks()["keys"][-1]).encode(),
        b"",
    ]
    for secret in secrets:
        signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{payload}"
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        assert "algorithm that is not accepted" in await problem(
            verifier, f"{signed}.{encoded(mac)}"
        )
    for name in ("none", "None", "NONE", "", None, "ES512", "EdDSA", ["ES256"], {"a": 1}):
        head = encoded({"alg": name, "typ": "JWT", "kid": kid})
        for signature in ("", _signature):
            refusal = await problem(verifier, f"{head}.{payload}.{signature}")
            assert "not accepted" in refusal or "malformed" in refusal
    assert await problem(verifier, f"{header}.{payload}.") == "has a wrong signature"
    # The key is for ES256, whatever else is accepted.
    head = encoded({"alg": "RS256", "typ": "JWT", "kid": kid})
    assert "another algorithm than that of its key" in await problem(
        verifier, f"{head}.{payload}.{_signature}"
    )


async def test_keys_in_a_token_do_not_count(provider: OidcProvider, verifier: Verifier) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    algorithm: Any = jwt.get_algorithm_by_name("ES256")
    jwk = {**json.loads(algorithm.to_jwk(own.public_key())), "kid": "own", "alg": "ES256"}
    payload = jwt.decode(provider.token(), options={"verify_signature": False})
    before = len(provider.requests)
    for header in ({"kid": "own", "jwk": jwk}, {"kid": "own", "jku": f"{provider.issuer}/own"}):
        text = jwt.encode(payload, own, algorithm="ES256", headers=header)
        assert "a key that the issuer does not list" in await problem(verifier, text)
    text = jwt.encode(payload, own, algorithm="ES256", headers={"kid": provider.key_ids[-1]})
    assert await problem(verifier, text) == "has a wrong signature"
    assert set(provider.requests[before:]) <= {"/.well-known/openid-configuration", "/keys"}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iss": "https://other.example"}, "is from another issuer"),
        ({"iss": None}, "has no claim iss"),
        ({"audience": "other"}, "is for another audience"),
        ({"audience": CLIENT_ID}, "is for another audience"),
        ({"audience": [AUDIENCE + "x"]}, "is for another audience"),
        ({"audience": {AUDIENCE: 1}}, "is for another audience"),
        ({"audience": None}, "has no claim aud"),
        ({"exp": None}, "has no claim exp"),
        ({"exp": "soon"}, "is malformed"),
        ({"exp": 1e400}, "is malformed"),
        ({"sub": None}, "has no claim sub"),
        ({"sub": 7}, "is malformed"),
        ({"sub": ""}, "has a subject that is not a name"),
        ({"sub": "a\x1b[31m"}, "has a subject that is not a name"),
        ({"sub": "x" * 256}, "has a subject that is not a name"),
    ],
)
async def test_claims_are_checked(
    claims: dict[str, Any], expected: str, provider: OidcProvider, verifier: Verifier
) -> None:
    assert await problem(verifier, provider.token(**claims)) == expected
    slash = provider.token(iss=f"{provider.issuer}/")
    assert await problem(verifier, slash) == "is from another issuer"


async def test_times_have_a_minute_of_leeway(provider: OidcProvider, verifier: Verifier) -> None:
    now = int(time.time())
    for claims in ({"exp": now - 50}, {"nbf": now + 50}, {"iat": now + 50}):
        await verifier.identity(provider.token(**claims))
    assert LEEWAY_SECONDS == 60
    assert "has expired: `tailrace login --oidc`" in await problem(
        verifier, provider.token(exp=now - 70)
    )
    for claim in ("nbf", "iat"):
        refusal = await problem(verifier, provider.token(**{claim: now + 70}))
        assert refusal.startswith("is not valid yet")


async def test_hostile_headers_and_bodies_are_refused(
    provider: OidcProvider, verifier: Verifier
) -> None:
    kid = provider.key_ids[-1]
    for header in ({"typ": "logout+jwt"}, {"typ": 7}, {"crit": ["exp"]}, {"kid": None}, {"kid": 7}):
        try:
            text = forged(provider, header)
        except jwt.PyJWTError:
            text = f"{encoded({'alg': 'ES256', 'typ': 'JWT', **header})}.e30.AA"
        await problem(verifier, text)
    nested = b"[" * 9000
    good = encoded({"alg": "ES256", "kid": kid})
    for text in (
        f"{encoded(nested)}.e30.AA",
        f"{encoded(b'null')}.e30.AA",
        f"{encoded(bytes([255, 254]))}.e30.AA",
        f"{good}.{encoded(nested)}.AA",
        f"{good}.e30.A",
        f"{good}.e30.{'A' * 20_000}",
        "a.b.c",
    ):
        assert is_jwt(text)
        await problem(verifier, text)
    # Signed by the issuer, but not a JSON object.
    for content in (nested, b"7", b"{", b"\xff"):
        text = jwt.PyJWS().encode(
            content, provider.private_key(), algorithm="ES256", headers={"kid": kid}
        )
        assert await problem(verifier, text) == "is malformed"
    assert not any(is_jwt(text) for text in ("", "tr_a_b", "a.b", "a.b.c.d", "ü.b.c", "a.b.c\n"))


async def test_a_login_without_a_role_is_told_so(
    provider: OidcProvider, verifier: Verifier
) -> None:
    for groups in (None, [], "other", ["tailrace:default"], {"team": 1}, [["team"]]):
        with pytest.raises(PermissionDenied, match="TAILRACE_OIDC_FILE") as error:
            await verifier.identity(provider.token(groups=groups))
        assert error.value.reason == "NO_ROLE"


async def test_an_id_token_only_makes_a_session(provider: OidcProvider, verifier: Verifier) -> None:
    text = provider.token(audience=CLIENT_ID, nonce="n")
    assert await problem(verifier, text) == "is for another audience"
    identity = await verifier.identity(text, is_login=True)
    assert identity.nonce == "n"
    assert identity.is_id_token
    for_others = provider.token(audience=[CLIENT_ID, "other"], azp="other")
    with pytest.raises(DomainError, match="for another application"):
        await verifier.identity(for_others, is_login=True)
    await verifier.identity(
        provider.token(audience=[CLIENT_ID, "other"], azp=CLIENT_ID), is_login=True
    )
