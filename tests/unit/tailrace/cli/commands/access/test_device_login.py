"""``tailrace login --oidc``: the user confirms in a browser, and the tokens are stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.profiles import Profiles
from tailrace.v1 import session_pb2
from tests.servers.oidc_provider import CLIENT_ID, OidcProvider, oidc_provider
from tests.unit.tailrace.cli.conftest import Tailrace


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def oidc_plane(plane: Any, provider: OidcProvider) -> Any:
    plane.sessions.options = session_pb2.LoginOptions(
        issuer=provider.issuer, client_id=CLIENT_ID, scopes=["openid", "offline_access"]
    )
    return plane


def decide(provider: OidcProvider, *, agree: bool) -> threading.Thread:
    """Act for the user in the background."""

    def act() -> None:
        deadline = time.monotonic() + 20
        while not provider.user_codes() and time.monotonic() < deadline:
            time.sleep(0.01)
        for code in provider.user_codes():
            provider.approve(code) if agree else provider.refuse(code)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_login_is_stored_with_its_refresh_token(
    tailrace: Tailrace, oidc_plane: Any, provider: OidcProvider
) -> None:
    user = decide(provider, agree=True)
    done = tailrace("login", "--server", oidc_plane.address, "--oidc", "--insecure")
    user.join(10)
    assert done.code == 0, done.err
    assert f"{provider.issuer}/activate" in done.out
    profile = Profiles.load().get("default")
    assert (profile.issuer, profile.client_id) == (provider.issuer, CLIENT_ID)
    assert profile.token.count(".") == 2
    assert profile.refresh_token
    assert profile.expire_time > time.time()
    for secret in (profile.token, profile.refresh_token):
        assert secret not in done.out + done.err
    assert tailrace("pools", "list").code == 0


def test_a_login_that_fails_stores_nothing(
    tailrace: Tailrace, oidc_plane: Any, provider: OidcProvider, tmp_path: Path
) -> None:
    login = ("login", "--server", oidc_plane.address, "--oidc")
    decide(provider, agree=False)
    refused = tailrace(*login, "--insecure")
    assert refused.code == 2
    assert "no login: the provider refuses with access_denied: the user said no" in refused.err
    # The provider of this test has no TLS.
    refused = tailrace(*login)
    assert "must be an https URL" in refused.err
    refused = tailrace(*login, "--no-token")
    assert "--oidc takes neither" in refused.err
    oidc_plane.sessions.options = None
    refused = tailrace(*login)
    assert "knows no OpenID provider" in refused.err
    assert Profiles.load() == Profiles()
