"""Sessions and logins over gRPC: what makes them, what they may do, and what ends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.callers import tokens
from services.domain.access.token import ALL_PROJECTS, id_of
from services.domain.caller import Caller
from services.domain.scope import IN_ALL, Scope
from services.usecases.access import sessions
from services.usecases.access.tokens import NewToken, store_token
from tailrace import AsyncClient, errors
from tailrace.access import Access
from tailrace.oidc import code_flow
from tailrace.oidc.provider import ClientApp, discover
from tailrace.oidc.web import Web
from tailrace.retry import RetryPolicy
from tailrace.v1 import run_pb2, run_pb2_grpc
from tests.servers.oidc_provider import (
    AUDIENCE,
    CLIENT_ID,
    REDIRECT_URI,
    OidcProvider,
    oidc_provider,
)
from tests.unit.services.api_client import ApiClient, failing, serving

ONCE = RetryPolicy(attempts=1)
GRANTS = [
    {"claim": "groups", "value": "admins", "cluster_admin": True},
    {"claim": "groups", "value": "{project}:{role}"},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        provider.claims = {"groups": ["default:editor"]}
        yield provider


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path, provider: OidcProvider) -> AsyncIterator[ApiClient]:
    file = tmp_path / "oidc.json"
    content = {
        "issuer": provider.issuer,
        "audience": AUDIENCE,
        "client_id": CLIENT_ID,
        "allow_loopback_http": True,
        "grants": GRANTS,
    }
    file.write_text(json.dumps(content))
    async with serving(
        sqlite_url, tmp_path / "data", seed=False, require_tokens=True, oidc_file=file
    ) as api:
        yield api


def client(api: ApiClient, text: str = "", **access: Any) -> AsyncClient:
    token = (lambda: text) if text else None
    return AsyncClient(api.plane.address, access=Access(token=token, **access), retry=ONCE)


async def token(api: ApiClient, *scopes: Scope, expire_time: datetime | None = None) -> str:
    project = ALL_PROJECTS if IN_ALL & set(scopes) else "default"
    new = NewToken(scopes=scopes, expire_time=expire_time)
    if Scope.WORKER in scopes:
        new = replace(new, worker_id="w", pools=["default"])
    return (await store_token(api.plane.context.database, Caller(), new, project))[1]


async def refusal(call: Any) -> str:
    with pytest.raises(errors.TailraceError) as error:
        await call
    return error.value.reason


async def test_a_login_acts_by_its_claims(api: ApiClient, provider: OidcProvider) -> None:
    async with client(api, provider.token()) as ada:
        await ada.list_pools()
        await ada.seed_dataset("golden-v2")
        assert await refusal(ada.drain_worker("w")) == "SCOPE_MISSING"
        assert await refusal(ada.create_token(["read"])) == "SCOPE_MISSING"
    async with client(api, provider.token(groups=["default:viewer"])) as viewer:
        await viewer.list_pools()
        assert await refusal(viewer.seed_dataset("golden-v2")) == "SCOPE_MISSING"
    async with client(api, provider.token(groups=["admins"])) as admin:
        await admin.create_token(["read"])
    # Claims on a project that does not exist, and on none.
    for groups in (["nowhere:owner", "elsewhere:owner"], ["nowhere:owner"]):
        async with client(api, provider.token(groups=groups)) as nowhere:
            assert await refusal(nowhere.list_pools()) == "PROJECT_NOT_FOUND"
    async with client(api, provider.token(groups=[])) as nobody:
        assert await refusal(nobody.list_pools()) == "NO_ROLE"
    async with client(api, provider.token(audience="other")) as other:
        assert await refusal(other.list_pools()) == "OIDC_TOKEN_INVALID"


async def test_the_options_of_a_login_need_no_credential(
    api: ApiClient, provider: OidcProvider, sqlite_url: str, tmp_path: Path
) -> None:
    async with client(api) as nobody:
        options = await nobody.get_login_options()
        assert (options.issuer, options.client_id) == (provider.issuer, CLIENT_ID)
        assert options.console_client_id == CLIENT_ID
        assert await refusal(nobody.list_pools()) == "TOKEN_MISSING"
        assert await refusal(nobody.create_session()) == "TOKEN_MISSING"
    async with (
        serving(sqlite_url, tmp_path / "other", seed=False) as plain,
        client(plain) as local,
        client(plain, provider.token()) as stranger,
    ):
        assert await refusal(local.get_login_options()) == "OIDC_OFF"
        # On loopback people need no credential, and have none to exchange.
        assert await refusal(local.create_session()) == "TOKEN_MISSING"
        assert await refusal(stranger.list_pools()) == "TOKEN_INVALID"


async def test_a_session_has_the_rights_of_its_token_and_makes_nothing(api: ApiClient) -> None:
    for scope in (Scope.READ, Scope.ADMIN):
        text = await token(api, scope)
        async with client(api, text) as owner:
            made = await owner.create_session()
        assert made.session.subject == f"token:{id_of(text)}"
        lifetime = made.session.expire_time.seconds - made.session.create_time.seconds
        assert lifetime == 12 * 3600
        async with client(api, made.secret) as session:
            await session.list_pools()
            assert await refusal(session.create_session()) == "IS_SESSION"
            is_admin = scope is Scope.ADMIN
            expected = "IS_SESSION" if is_admin else "SCOPE_MISSING"
            assert await refusal(session.create_token(["admin"])) == expected
            expected = "WORKER_NOT_FOUND" if is_admin else "SCOPE_MISSING"
            assert await refusal(session.drain_worker("w")) == expected
    async with client(api, await token(api, Scope.WORKER)) as worker:
        assert await refusal(worker.create_session()) == "SCOPE_MISSING"


async def test_a_session_ends_with_its_token_and_by_itself(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 0.0)
    admin_text, text = await token(api, Scope.ADMIN), await token(api, Scope.READ)
    async with client(api, admin_text) as admin, client(api, text) as owner:
        assert await refusal(owner.end_session()) == "NOT_A_SESSION"
        first, second, third = [await owner.create_session() for _ in range(3)]
        assert all(t.name.startswith("tokens/") for t in [t async for t in admin.list_tokens()])
        assert len([t async for t in admin.list_tokens()]) == 2
        async with client(api, first.secret) as session:
            ended = await session.end_session()
            assert ended.HasField("end_time")
            assert await refusal(session.list_pools()) == "TOKEN_INVALID"
        # By name: the owner, an administrator, and nobody else.
        async with client(api, await token(api, Scope.WRITE)) as other:
            assert await refusal(other.end_session(second.session.name)) == "SESSION_NOT_FOUND"
            unknown = "sessions/abcdefghijkm"
            assert await refusal(other.end_session(unknown)) == "SESSION_NOT_FOUND"
            assert await refusal(other.end_session("tokens/abcdefghijkm")) == "INVALID_INPUT"
            # An API token is not ended as a session.
            own = f"sessions/{id_of(text)}"
            assert await refusal(owner.end_session(own)) == "SESSION_NOT_FOUND"
        ended = await owner.end_session(second.session.name)
        assert await admin.end_session(second.session.name) == ended
        await admin.revoke_token(f"tokens/{id_of(text)}")
        async with client(api, third.secret) as session:
            assert await refusal(session.list_pools()) == "TOKEN_INVALID"


async def test_no_session_outlives_a_revocation_or_an_expiry(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This replica has the token in its cache.
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 60.0)
    text, admin_text = await token(api, Scope.READ), await token(api, Scope.ADMIN)
    async with client(api, text) as owner, client(api, admin_text) as admin:
        await owner.list_pools()
        await admin.revoke_token(f"tokens/{id_of(text)}")
        await owner.list_pools()
        assert await refusal(owner.create_session()) == "TOKEN_INVALID"
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    async with client(api, await token(api, Scope.READ, expire_time=end)) as owner:
        made = await owner.create_session()
        assert made.session.expire_time.ToDatetime(UTC) == end


async def test_a_login_becomes_a_session_by_its_nonce_alone(
    api: ApiClient, provider: OidcProvider
) -> None:
    web = Web(loopback_http=True)
    endpoints = await asyncio.to_thread(discover, provider.issuer, web)
    app = ClientApp(CLIENT_ID)
    url, pending = code_flow.begin(endpoints, app, REDIRECT_URI)
    found = await asyncio.to_thread(
        code_flow.complete, endpoints, app, pending, provider.authorize(url), web
    )
    async with client(api, found.id_token) as console:
        assert await refusal(console.list_pools()) == "OIDC_TOKEN_INVALID"
        for nonce in ("", "x", f"{pending.nonce}x"):
            assert await refusal(console.create_session(nonce=nonce)) == "NONCE_MISMATCH"
        made = await console.create_session(nonce=pending.nonce)
    assert made.session.subject == f"oidc:{provider.issuer}#ada"
    async with client(api, made.secret) as session:
        await session.list_pools()
        await session.seed_dataset("golden-v2")
        assert await refusal(session.create_token(["read"])) == "SCOPE_MISSING"
    # An ID token without a nonce is not from a console's login.
    async with client(api, provider.token(audience=CLIENT_ID)) as console:
        assert await refusal(console.create_session()) == "NONCE_MISMATCH"
    # An access token has none.
    async with client(api, provider.token()) as program:
        assert await refusal(program.create_session(nonce="x")) == "NONCE_MISMATCH"
        made = await program.create_session()
        await program.end_session(made.session.name)


async def test_a_session_keeps_roles_in_several_projects(
    api: ApiClient, provider: OidcProvider
) -> None:
    groups = ["default:viewer", "elsewhere:owner", "nowhere:editor"]
    async with client(api, provider.token(groups=groups)) as ada:
        made = await ada.create_session()
    async with client(api, made.secret) as session:
        await session.list_pools()
        assert await refusal(session.seed_dataset("golden-v2")) == "SCOPE_MISSING"


async def test_a_stream_ends_with_its_access_token(api: ApiClient, provider: OidcProvider) -> None:
    async with client(api, provider.token()) as ada:
        await ada.seed_dataset("golden-v2")
        run = await ada.create_run(
            {"dataset": "golden-v2", "model": {"preset": "gpt2-nano"}, "train": {"max_steps": 1}}
        )
    runs: Any = run_pb2_grpc.RunServiceStub(api.channel)
    # The leeway of a minute is over in one to two seconds.
    expiring = provider.token(exp=int(datetime.now(UTC).timestamp()) - 58)
    metadata = (("authorization", f"Bearer {expiring}"),)
    watch = runs.WatchRun(run_pb2.WatchRunRequest(name=run.name), metadata=metadata)

    async def read_on() -> None:
        while True:
            await watch.read()

    reason, _ = await failing(asyncio.wait_for(read_on(), 20), grpc.StatusCode.UNAVAILABLE)
    assert reason == "LOGIN_EXPIRED"


async def test_one_session_too_many_ends_the_oldest(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 0.0)
    async with client(api, await token(api, Scope.READ)) as owner:
        secrets = [(await owner.create_session()).secret for _ in range(3)]
    async with client(api, await token(api, Scope.READ)) as other:
        await other.create_session()
    async with client(api, secrets[0]) as oldest:
        assert await refusal(oldest.list_pools()) == "TOKEN_INVALID"
    for secret in secrets[1:]:
        async with client(api, secret) as session:
            await session.list_pools()


async def test_old_sessions_are_deleted(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await token(api, Scope.READ)
    monkeypatch.setattr(sessions, "LIFETIME", -timedelta(days=1))
    async with client(api, text) as owner:
        await owner.create_session()
    context = api.plane.context
    assert await sessions.delete_old_sessions(context) == 0
    monkeypatch.setattr(sessions, "KEPT", timedelta(hours=1))
    assert await sessions.delete_old_sessions(context) == 1
    async with client(api, text) as owner:
        await owner.list_pools()
