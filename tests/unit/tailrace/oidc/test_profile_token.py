"""The token of a profile is renewed in time, once, and stored for its owner alone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from tailrace.access import AccessError
from tailrace.environment import VARIABLES, resolve
from tailrace.oidc import code_flow
from tailrace.oidc.profile_token import ProfileToken, with_tokens
from tailrace.oidc.provider import ClientApp, TokenSet, discover
from tailrace.oidc.web import Web
from tailrace.profiles import Profile, Profiles, file_path
from tests.servers.oidc_provider import CLIENT_ID, REDIRECT_URI, OidcProvider

WEB = Web(loopback_http=True)
APP = ClientApp(CLIENT_ID)
SERVER = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAILRACE_SERVER", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def logged_in(provider: OidcProvider, *, left: float, **values: bool) -> Profile:
    """Store a profile whose token expires in ``left`` seconds, beside another current one."""
    endpoints = discover(provider.issuer, WEB)
    url, pending = code_flow.begin(endpoints, APP, REDIRECT_URI)
    tokens = code_flow.complete(endpoints, APP, pending, provider.authorize(url), WEB)
    profile = Profile(SERVER, issuer=provider.issuer, client_id=CLIENT_ID, insecure=True, **values)
    profile = replace(with_tokens(profile, tokens), expire_time=int(time.time() + left))
    Profiles().with_profile("login", profile).with_profile("other", Profile("other:1")).save()
    return profile


def test_a_fresh_token_is_used_as_it_is(provider: OidcProvider) -> None:
    profile = logged_in(provider, left=200)
    before = len(provider.requests)
    token = ProfileToken("login", profile)
    assert {token() for _ in range(3)} == {profile.token}
    assert len(provider.requests) == before


def test_an_expired_token_is_renewed_and_stored(
    provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = logged_in(provider, left=-10)
    monkeypatch.setenv("TAILRACE_PROFILE", "login")
    _server, access = resolve()
    assert access.token is not None
    text = access.token()
    stored = Profiles.load()
    assert stored.current == "other"
    renewed = stored.get("login")
    assert renewed.token == text
    assert renewed.refresh_token not in ("", profile.refresh_token)
    assert renewed.expire_time > time.time() + 200
    assert file_path().stat().st_mode & 0o777 == 0o600
    for secret in (text, renewed.refresh_token):
        assert secret not in repr(stored)


def test_a_token_is_renewed_while_calls_go_on_with_it(provider: OidcProvider) -> None:
    profile = logged_in(provider, left=20)
    token = ProfileToken("login", profile)
    assert token() == profile.token
    for thread in threading.enumerate():
        if thread.name == "tailrace-login":
            assert not thread.daemon
            thread.join(10)
    assert token() == Profiles.load().get("login").token
    assert Profiles.load().get("login").expire_time > profile.expire_time


def test_of_many_programs_one_renews(provider: OidcProvider) -> None:
    profile = logged_in(provider, left=-10)
    before = provider.requests.count("/token")
    programs = [ProfileToken("login", profile) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda token: token(), programs))
    assert texts == [Profiles.load().get("login").token] * 6
    assert provider.requests.count("/token") - before == 1


def test_a_login_that_has_ended_says_so(provider: OidcProvider) -> None:
    profile = logged_in(provider, left=-10)
    provider.end_logins()
    with pytest.raises(AccessError, match=r"'login' has ended .*login has ended.*login --oidc"):
        ProfileToken("login", profile)()
    Profiles.load().without("login").save()
    with pytest.raises(AccessError, match="was replaced: start again"):
        ProfileToken("login", profile)()


def test_an_absent_provider_is_reported_once_the_token_has_expired(
    provider: OidcProvider, caplog: pytest.LogCaptureFixture
) -> None:
    profile = logged_in(provider, left=20)
    provider.faults["/.well-known/openid-configuration"] = lambda handler: handler.answer(503, {})  # type: ignore[attr-defined]
    token = ProfileToken("login", profile)
    assert {token() for _ in range(5)} == {profile.token}
    for thread in threading.enumerate():
        if thread.name == "tailrace-login":
            thread.join(10)
    assert len([r for r in caplog.records if "cannot be renewed" in r.message]) == 1
    with pytest.raises(AccessError, match=r"cannot be renewed: .* answered with status 503"):
        ProfileToken("login", replace(profile, expire_time=0))()


def test_a_server_may_ask_for_the_id_token(provider: OidcProvider) -> None:
    profile = logged_in(provider, left=-10, sends_id_token=True)
    text = ProfileToken("login", profile)()
    claims = jwt.decode(text, options={"verify_signature": False})
    assert claims["aud"] == CLIENT_ID
    assert Profiles.load().get("login").expire_time == claims["exp"]
    for wrong in ("", "x", "a.b.c", "a.e30.c"):
        with pytest.raises(AccessError, match="gave no ID token"):
            with_tokens(profile, TokenSet("a", wrong))
