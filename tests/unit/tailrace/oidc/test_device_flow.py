"""A login on another device: what is asked, how often, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.oidc import device_flow
from tailrace.oidc.provider import ClientApp, LoginError, Provider, discover
from tailrace.oidc.web import Web, WebError
from tests.servers.oidc_provider import CLIENT_ID, OidcProvider

WEB = Web(loopback_http=True, seconds=5)
APP = ClientApp(CLIENT_ID)


@pytest.fixture
def endpoints(provider: OidcProvider) -> Provider:
    return discover(provider.issuer, WEB)


def answers(provider: OidcProvider, path: str, *replies: tuple[int, dict[str, Any]]) -> None:
    """Let the provider answer once with each reply, then as usual."""
    left = list(replies)

    def answer(handler: Any) -> None:
        status, body = left.pop(0)
        if not left:
            del provider.faults[path]
        handler.answer(status, body)

    provider.faults[path] = answer


def test_the_user_agrees_after_a_while(provider: OidcProvider, endpoints: Provider) -> None:
    login = device_flow.begin(endpoints, APP, "openid", WEB)
    assert login.user_code in login.complete_uri
    assert login.device_code not in repr(login)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            provider.approve(login.user_code)

    tokens = device_flow.wait(endpoints, APP, login, WEB, sleep)
    assert tokens.access_token
    assert tokens.refresh_token
    assert len(pauses) == 3


def test_the_user_refuses(provider: OidcProvider, endpoints: Provider) -> None:
    login = device_flow.begin(endpoints, APP, "openid", WEB)
    provider.refuse(login.user_code)
    with pytest.raises(LoginError, match="access_denied: the user said no"):
        device_flow.wait(endpoints, APP, login, WEB)


def test_the_provider_sets_the_pace(provider: OidcProvider, endpoints: Provider) -> None:
    login = device_flow.begin(endpoints, APP, "openid", WEB)
    provider.approve(login.user_code)
    pending, slow = {"error": "authorization_pending"}, {"error": "slow_down"}
    answers(provider, "/token", (400, pending), (400, slow), (400, slow), (400, pending))
    pauses: list[float] = []
    device_flow.wait(endpoints, APP, login, WEB, pauses.append)
    assert pauses == [0, 0, 5, 10, 10]


def test_a_provider_that_is_away_is_asked_less_and_less(
    provider: OidcProvider, endpoints: Provider
) -> None:
    login = device_flow.begin(endpoints, APP, "openid", WEB)
    provider.approve(login.user_code)
    provider.faults["/token"] = lambda handler: handler.close_connection
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            provider.faults.clear()

    device_flow.wait(endpoints, APP, login, WEB, sleep)
    assert pauses == [0, 2, 4]


def test_a_code_that_nobody_used_expires(provider: OidcProvider, endpoints: Provider) -> None:
    body = provider.start_device({})[1]
    answers(provider, "/device", (200, {**body, "expires_in": 0, "interval": 1}))
    login = device_flow.begin(endpoints, APP, "openid", WEB)
    with pytest.raises(LoginError, match="the code expired before a login"):
        device_flow.wait(endpoints, APP, login, WEB, lambda _: None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"user_code": 7}, "user_code is not a text"),
        ({"user_code": "A\x1b[31m"}, "user_code is not a text"),
        ({"verification_uri": "http://phish.example"}, "must be an https URL"),
        ({"verification_uri_complete": "javascript:alert(1)"}, "is not a URL with a host"),
        ({"interval": "soon"}, "interval is not a number"),
        ({"interval": -1}, "interval is not a number"),
    ],
)
def test_a_wrong_answer_is_refused(
    change: dict[str, Any], problem: str, provider: OidcProvider, endpoints: Provider
) -> None:
    answers(provider, "/device", (200, {**provider.start_device({})[1], **change}))
    with pytest.raises((LoginError, WebError), match=problem):
        device_flow.begin(endpoints, APP, "openid", WEB)


def test_a_provider_without_the_flow_is_named(provider: OidcProvider) -> None:
    endpoints = Provider(provider.issuer, provider.issuer)
    with pytest.raises(LoginError, match="offers no device login: use an API token"):
        device_flow.begin(endpoints, APP, "openid", WEB)
