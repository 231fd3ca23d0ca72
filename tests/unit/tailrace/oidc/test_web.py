"""Requests to a provider end in time, at a size, and at the URL that was asked for."""

from __future__ import annotations

import time

import pytest

from tailrace.oidc.web import Web, WebError
from tests.servers.oidc_provider import (
    OidcProvider,
    huge,
    redirect,
    silence,
    slow_body,
    slow_header,
)

WEB = Web(loopback_http=True, seconds=0.2)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (redirect, "answered with a redirect, which is not followed"),
        (huge, "is larger than 262144 bytes"),
        (silence, "did not answer within 0.2 seconds"),
        (slow_body, "was not received within 0.2 seconds"),
        (slow_header, "did not answer within 0.2 seconds"),
        (lambda handler: handler.answer(500, {}), "answered with status 500"),
        (lambda handler: handler.answer(200, []), "must hold a JSON object"),
    ],
)
def test_a_misbehaving_provider_is_left(
    fault: object, problem: str, provider: OidcProvider
) -> None:
    provider.faults["/keys"] = fault  # type: ignore[assignment]
    began = time.monotonic()
    with pytest.raises(WebError, match=problem):
        WEB.get(f"{provider.issuer}/keys")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://login.example/keys", "must be an https URL"),
        ("http://127.0.0.1.example/keys", "must be an https URL"),
        ("file:///etc/passwd", "is not a URL with a host"),
        ("ftp://127.0.0.1/keys", "must be an https URL"),
        ("https:///keys", "is not a URL with a host"),
        ("https://user:secret@login.example/keys", "must not be given with a user or password"),
        ("https://[login/keys", "is not a URL"),
        ("https://login.example:99999/keys", "is not a URL"),
        ("https://login.example/\u202ekeys", "is not a URL with a host"),
    ],
)
def test_only_https_is_requested(url: str, problem: str) -> None:
    with pytest.raises(WebError, match=problem) as error:
        WEB.get(url)
    assert "secret" not in str(error.value)


def test_http_on_loopback_must_be_allowed(provider: OidcProvider) -> None:
    assert "keys" in WEB.get(f"{provider.issuer}/keys").body
    before = len(provider.requests)
    with pytest.raises(WebError, match=r"`allow_loopback_http`.*--insecure"):
        Web().get(f"{provider.issuer}/keys")
    assert len(provider.requests) == before


def test_an_absent_provider_is_named() -> None:
    with pytest.raises(WebError, match=r"http://127.0.0.1:9/keys': Connection refused"):
        WEB.get("http://127.0.0.1:9/keys?secret")
