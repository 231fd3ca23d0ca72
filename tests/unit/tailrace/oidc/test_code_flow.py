"""A login by a browser: what it sends, and returns that are not those of this login."""

from __future__ import annotations

import base64
import urllib.parse
from dataclasses import replace

import jwt
import pytest

from tailrace.oidc import code_flow
from tailrace.oidc.provider import ClientApp, LoginError, Provider, TokenSet, discover, refresh
from tailrace.oidc.web import Web, WebError
from tests.servers.oidc_provider import CLIENT_ID, REDIRECT_URI, OidcProvider

WEB = Web(loopback_http=True, seconds=5)
APP = ClientApp(CLIENT_ID)


@pytest.fixture
def endpoints(provider: OidcProvider) -> Provider:
    return discover(provider.issuer, WEB)


def test_a_code_becomes_tokens(provider: OidcProvider, endpoints: Provider) -> None:
    url, pending = code_flow.begin(endpoints, APP, REDIRECT_URI, "openid offline_access")
    assert pending.verifier not in url
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert query["scope"] == "openid offline_access"
    tokens = code_flow.complete(endpoints, APP, pending, provider.authorize(url), WEB)
    claims = jwt.decode(tokens.id_token, options={"verify_signature": False})
    assert claims["nonce"] == pending.nonce
    assert claims["aud"] == CLIENT_ID
    assert refresh(endpoints, APP, WEB, tokens.refresh_token).access_token
    for secret in (tokens.id_token, tokens.refresh_token, pending.nonce, pending.state):
        assert secret not in repr((tokens, pending))


@pytest.mark.parametrize("lifetime", [-1, 10**12])
def test_a_lifetime_that_is_none_is_refused(
    lifetime: int, provider: OidcProvider, endpoints: Provider
) -> None:
    url, pending = code_flow.begin(endpoints, APP, REDIRECT_URI)
    provider.lifetime = lifetime
    with pytest.raises(LoginError, match="expires_in must be from 0"):
        code_flow.complete(endpoints, APP, pending, provider.authorize(url), WEB)


def test_an_id_token_that_never_expires_is_refused() -> None:
    # Python's reader of JSON takes 1e999 for infinity.
    payload = base64.urlsafe_b64encode(b'{"exp": 1e999}').decode()
    with pytest.raises(LoginError, match="no ID token"):
        TokenSet("access", id_token=f"x.{payload}.x").bearer(id_token=True)


def test_logins_share_no_secret(endpoints: Provider) -> None:
    logins = [code_flow.begin(endpoints, APP, REDIRECT_URI)[1] for _ in range(3)]
    assert len({s for p in logins for s in (p.state, p.nonce, p.verifier)}) == 9
    assert all(len(p.verifier) == 43 for p in logins)


def test_the_challenge_is_that_of_the_rfc() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert code_flow.challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"state": "x"}, "does not belong to a login of this browser"),
        ({"state": ""}, "does not belong to a login of this browser"),
        ({"state": "é"}, "does not belong to a login of this browser"),
        ({"iss": "https://other.example"}, "comes from another provider"),
        ({"code": ""}, "has no code"),
        ({"code": "wrong"}, "refuses with invalid_grant: no such code"),
        ({"error": "access_denied"}, "refuses with access_denied$"),
    ],
)
def test_another_return_is_refused(
    change: dict[str, str], problem: str, provider: OidcProvider, endpoints: Provider
) -> None:
    url, pending = code_flow.begin(endpoints, APP, REDIRECT_URI)
    before = provider.requests.count("/token")
    with pytest.raises(LoginError, match=problem):
        code_flow.complete(endpoints, APP, pending, {**provider.authorize(url), **change}, WEB)
    # Only a code that may be this login's is sent to the provider.
    assert provider.requests.count("/token") - before == ("wrong" in change.values())


def test_a_stolen_code_is_worth_nothing(provider: OidcProvider, endpoints: Provider) -> None:
    url, pending = code_flow.begin(endpoints, APP, REDIRECT_URI)
    query = provider.authorize(url)
    thief = replace(pending, verifier="x" * 43)
    with pytest.raises(LoginError, match="invalid_grant"):
        code_flow.complete(endpoints, APP, thief, query, WEB)


def test_a_document_of_another_issuer_is_refused(provider: OidcProvider) -> None:
    document = provider.document()
    for change, problem in (
        ({"issuer": "https://other.example"}, "is not the document of the issuer"),
        ({"jwks_uri": None}, "jwks_uri must be a text"),
        ({"jwks_uri": ""}, "names no jwks_uri"),
        ({"token_endpoint": "http://login.example/token"}, "must be an https URL"),
    ):
        path = "/.well-known/openid-configuration"
        content = {**document, **change}
        provider.faults[path] = lambda handler, content=content: handler.answer(200, content)  # type: ignore
        with pytest.raises(WebError, match=problem):
            discover(provider.issuer, WEB)


def test_a_confidential_application_authenticates_by_header() -> None:
    form, headers = ClientApp("a b", "p:ä").credentials()
    assert form == {}
    # base64 of "a+b:p%3A%C3%A4"
    assert headers == {"Authorization": "Basic YStiOnAlM0ElQzMlQTQ="}
