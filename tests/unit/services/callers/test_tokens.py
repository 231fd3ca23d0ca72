"""API tokens over gRPC: what each may do, until when, and what ends with it."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool

from services.callers import tokens
from services.domain.access.token import ALL_PROJECTS, id_of
from services.domain.caller import Caller
from services.domain.scope import PUBLIC, RULES, WORKER_LEASED, Role, Scope
from services.server import SERVICES
from services.storage.rows.access.projects import projects
from services.usecases.access.projects import create_project
from services.usecases.access.tokens import NewToken, store_token
from tailrace import AsyncClient, errors
from tailrace.access import PROJECT_HEADER, Access
from tailrace.channel import connect_aio
from tailrace.formats.service_url import sqlite_path
from tailrace.retry import RetryPolicy
from tailrace.v1 import run_pb2, run_pb2_grpc, stage_pb2, stage_pb2_grpc
from tests.servers.worker_token import worker_token
from tests.unit.services.api_client import ApiClient, decoded, failing, serving

ONCE = RetryPolicy(attempts=1)
METHODS = [
    (f"{name.rpartition('.')[2]}/{method.name}", method)
    for name in SERVICES
    for method in descriptor_pool.Default().FindServiceByName(name).methods
]


class Guarded:
    """A control plane that asks for tokens."""

    def __init__(self, api: ApiClient) -> None:
        self.api = api
        self.address = api.plane.address

    async def token(
        self,
        *scopes: Scope,
        role: Role | None = None,
        project: str = ALL_PROJECTS,
        expire_time: datetime | None = None,
        worker_id: str = "w1",
        pools: Sequence[str] = ("cpu",),
    ) -> str:
        worker = {"worker_id": worker_id, "pools": pools} if Scope.WORKER in scopes else {}
        new = NewToken("of a test", role=role, scopes=scopes, expire_time=expire_time, **worker)
        database = self.api.plane.context.database
        _token, text = await store_token(database, Caller(), new, project)
        return text

    def client(self, text: str = "") -> AsyncClient:
        access = Access(token=(lambda: text) if text else None)
        return AsyncClient(self.address, access=access, retry=ONCE)

    def channel(self, text: str) -> Any:
        return connect_aio(self.address, Access(token=lambda: text))


@asynccontextmanager
async def guarding(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with serving(sqlite_url, tmp_path / "data", seed=False, require_tokens=True) as api:
        yield Guarded(api)


@pytest.fixture
async def guarded(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarding(sqlite_url, tmp_path) as plane:
        yield plane


def test_every_method_has_a_rule() -> None:
    assert {name for name, _ in METHODS} == set(RULES)
    assert set(RULES) >= WORKER_LEASED
    for name, allowed in RULES.items():
        # read < write < admin, and every method has a caller.
        assert allowed
        if Scope.READ in allowed:
            assert Scope.WRITE in allowed, name
        if Scope.WRITE in allowed:
            assert Scope.ADMIN in allowed, name


async def refusal(channel: Any, name: str, method: Any) -> tuple[grpc.StatusCode, str] | None:
    """The code and reason of a call with an empty request, if authentication refuses it."""
    path = f"/tailrace.v1.{name}"
    kind = f"{'stream' if method.client_streaming else 'unary'}_" + (
        "stream" if method.server_streaming else "unary"
    )
    call = getattr(channel, kind)(path)
    try:
        stream = call(iter([b""]) if method.client_streaming else b"", timeout=10)
        if method.server_streaming:
            await stream.read()
        else:
            await stream
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return error.code(), decoded(error)[0]
    return None


@pytest.mark.parametrize("right", [*sorted(set(Scope) - {Scope.TOKENS}), *Role, None], ids=str)
async def test_the_matrix_of_methods_and_rights(
    right: Scope | Role | None, guarded: Guarded
) -> None:
    text, held = "", frozenset[Scope]()
    if isinstance(right, Role):
        text, held = await guarded.token(role=right, project="default"), right.scopes
    elif right is not None:
        text, held = await guarded.token(right), frozenset({right})
    async with guarded.channel(text) as channel:
        refused = {name: await refusal(channel, name, method) for name, method in METHODS}
    for name, allowed in RULES.items():
        workers_only = allowed == {Scope.WORKER}
        if held & allowed or name in PUBLIC:
            assert refused[name] is None, name
        elif workers_only:
            assert refused[name] == (grpc.StatusCode.UNAUTHENTICATED, "WORKER_TOKEN"), name
        elif right is None:
            assert refused[name] == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"), name
        else:
            assert refused[name] == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"), name


async def test_the_worker_token_is_a_worker_here_too(guarded: Guarded) -> None:
    async with guarded.channel(worker_token().value) as channel:
        refused = {name: await refusal(channel, name, method) for name, method in METHODS}
    assert {name for name, error in refused.items() if error is None} == {
        name for name, allowed in RULES.items() if Scope.WORKER in allowed
    }


async def test_only_the_digest_is_stored(guarded: Guarded, sqlite_url: str) -> None:
    text = await guarded.token(Scope.READ)
    with closing(sqlite3.connect(sqlite_path(sqlite_url))) as database:
        dump = "\n".join(database.iterdump())
    assert text.rpartition("_")[2] not in dump
    assert hashlib.sha256(text.encode()).hexdigest() in dump


async def test_wrong_tokens_are_refused(guarded: Guarded) -> None:
    text = await guarded.token(Scope.READ)
    other = await guarded.token(Scope.READ)
    token_id, secret = id_of(text), text[16:]
    past = datetime.now(UTC) + timedelta(seconds=0.2)
    expired = await guarded.token(Scope.READ, expire_time=past)
    await asyncio.sleep(0.25)
    wrong = [
        f"tr_{id_of(other)}_{secret}",
        f"tr_{token_id}_{'x' * 43}",
        text[:-1],
        f"{text}x",
        "tr_",
        "x",
        expired,
    ]
    for candidate in wrong:
        async with guarded.client(candidate) as client:
            with pytest.raises(errors.Unauthenticated) as error:
                await client.list_pools()
            assert error.value.reason == "TOKEN_INVALID"
    async with guarded.client(text) as client:
        await client.list_pools()


async def test_an_administrator_makes_lists_and_revokes_tokens(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 0.05)
    async with guarded.client(await guarded.token(Scope.ADMIN)) as admin:
        made = await admin.create_token(["write"], description="ci")
        async with guarded.client(made.secret) as client:
            await client.list_pools()
            with pytest.raises(
                errors.PermissionDenied, match=r"needs the scope tokens.* has write"
            ):
                await client.create_token(["admin"])
        listed = [token async for token in admin.list_tokens(page_size=1)]
        assert [token.description for token in listed if token.name == made.token.name] == ["ci"]
        assert len(listed) == 2
        revoked = await admin.revoke_token(made.token.name)
        assert revoked.HasField("revoke_time")
        assert await admin.revoke_token(made.token.name) == revoked
        await asyncio.sleep(0.1)
        async with guarded.client(made.secret) as client:
            with pytest.raises(errors.Unauthenticated):
                await client.list_pools()
        with pytest.raises(errors.NotFound, match="tailrace tokens list"):
            await admin.revoke_token("tokens/abcdefghijkm")
        with pytest.raises(errors.InvalidArgument, match="at least one scope"):
            await admin.create_token([])
        with pytest.raises(errors.InvalidArgument, match="worker must be the only scope"):
            await admin.create_token(["worker", "read"])
        with pytest.raises(errors.InvalidArgument, match=r"token\.worker.*token\.pools"):
            await admin.create_token(["worker"])
        with pytest.raises(errors.InvalidArgument, match="needs the scope worker"):
            await admin.create_token(["read"], worker="w1", pools=["cpu"])
        bound = await admin.create_token(["worker"], worker="w1", pools=["gpu", "cpu"])
        assert (bound.token.worker, list(bound.token.pools)) == ("workers/w1", ["cpu", "gpu"])
        with pytest.raises(errors.InvalidArgument, match="must be in the future"):
            await admin.create_token(["read"], expire_time=datetime(2020, 1, 1, tzinfo=UTC))


async def test_a_revocation_ends_open_streams_on_every_replica(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tokens.LOOK_SECONDS * 2 < 10
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 0.2)
    async with guarding(sqlite_url, tmp_path) as first, guarding(sqlite_url, tmp_path) as second:
        text, worker = await first.token(Scope.READ), await first.token(Scope.WORKER)
        admin_token, kept = await first.token(Scope.ADMIN), await first.token(Scope.READ)
        await first.api.plane.context.database.check()
        async with first.client(admin_token) as admin:
            await admin.seed_dataset("golden-v2")
            run = await admin.create_run(
                {
                    "dataset": "golden-v2",
                    "model": {"preset": "gpt2-nano"},
                    "train": {"max_steps": 1},
                }
            )
            async with (
                second.channel(text) as channel,
                second.channel(worker) as stages,
                second.channel(kept) as others,
            ):
                request = run_pb2.WatchRunRequest(name=run.name)
                watch = run_pb2_grpc.RunServiceStub(channel).WatchRun(request)
                logs = run_pb2_grpc.RunServiceStub(channel).StreamLogs(
                    run_pb2.StreamLogsRequest(name=run.name, follow=True)
                )
                going_on: Any = run_pb2_grpc.RunServiceStub(others).WatchRun(request)
                publish: Any = stage_pb2_grpc.StageServiceStub(stages).PublishEvents()
                await watch.read()  # type: ignore[attr-defined]
                await going_on.read()
                reads = [asyncio.ensure_future(s.read()) for s in (watch, logs, publish)]  # type: ignore[attr-defined]
                more = asyncio.ensure_future(going_on.read())
                await asyncio.sleep(0.3)
                began = time.monotonic()
                for secret in (text, worker):
                    await admin.revoke_token(f"tokens/{id_of(secret)}")
                for read in reads:
                    reason, _ = await failing(read, grpc.StatusCode.UNAUTHENTICATED)
                    assert reason == "TOKEN_INVALID"
                assert time.monotonic() - began < 3
                assert not more.done()
                more.cancel()


async def test_a_use_is_recorded_once_a_minute(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = await guarded.token(Scope.ADMIN)
    store = guarded.api.plane._tokens
    async with guarded.client(text) as client:

        async def last_used() -> Any:
            (token,) = [token async for token in client.list_tokens()]
            return (
                token.last_used_time.ToMicroseconds() if token.HasField("last_used_time") else None
            )

        assert await last_used() is None
        await store._record_uses()
        first = await last_used()
        assert first is not None
        await store._record_uses()
        # Another replica records at its own time.
        store._next_record = 0.0
        await store._record_uses()
        assert await last_used() == first


async def test_a_worker_reads_predictions_of_its_lease_alone(guarded: Guarded) -> None:
    async with guarded.channel(worker_token().value) as channel:
        runs: Any = run_pb2_grpc.RunServiceStub(channel)
        request = run_pb2.ListPredictionsRequest(parent="runs/r")
        for metadata in ((), (("tailrace-lease", "x"),)):
            call = runs.ListPredictions(request, metadata=metadata)
            assert (await failing(call, grpc.StatusCode.FAILED_PRECONDITION))[0] == "LEASE_LOST"


async def test_where_no_token_is_required_a_wrong_one_is_refused_all_the_same(
    api: ApiClient,
) -> None:
    access = Access(token=lambda: "tr_x")
    async with AsyncClient(api.plane.address, access=access, retry=ONCE) as client:
        with pytest.raises(errors.Unauthenticated):
            await client.list_pools()
    async with AsyncClient(api.plane.address, access=Access(), retry=ONCE) as client:
        await client.list_pools()
    assert stage_pb2.DESCRIPTOR


async def code_of(channel: Any, *metadata: tuple[str, str]) -> tuple[str, str, str]:
    """The code, reason and message of ListRuns with metadata."""
    try:
        await run_pb2_grpc.RunServiceStub(channel).ListRuns(
            run_pb2.ListRunsRequest(), metadata=metadata
        )
    except grpc.aio.AioRpcError as error:
        return error.code().name, decoded(error)[0], str(error.details())
    return "OK", "", ""


async def test_a_token_of_a_project_knows_no_other(guarded: Guarded) -> None:
    async with guarded.api.plane.context.database.write() as conn:
        row = {"project_id": "vision", "description": "", "create_time": datetime.now(UTC)}
        await conn.execute(projects.insert(), row)
    own = await guarded.token(Scope.READ, project="vision")
    every = await guarded.token(Scope.READ)
    async with guarded.channel(own) as channel:
        assert await code_of(channel) == await code_of(channel, (PROJECT_HEADER, "vision"))
        assert (await code_of(channel))[0] == "OK"
        code, reason, message = await code_of(channel, (PROJECT_HEADER, "default"))
        assert (code, reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
        missing = await code_of(channel, (PROJECT_HEADER, "missing"))
        assert missing == (code, reason, message.replace("default", "missing"))
    async with guarded.channel(every) as channel:
        assert (await code_of(channel, (PROJECT_HEADER, "vision")))[0] == "OK"
        assert await code_of(channel, (PROJECT_HEADER, "missing")) == missing


async def test_an_owner_manages_the_tokens_of_its_project(guarded: Guarded) -> None:
    context = guarded.api.plane.context
    for project in ("vision", "speech"):
        await create_project(context, Caller(), project, "")
    other = await guarded.token(Scope.READ, project="speech")
    admin = guarded.client(await guarded.token(Scope.ADMIN))
    async with admin:
        made = await admin.create_token(role="owner", project="vision", description="lead")
        assert made.token.project == "projects/vision"
        with pytest.raises(errors.NotFound, match="projects/nosuch does not exist"):
            await admin.create_token(role="viewer", project="nosuch")
    async with guarded.client(made.secret) as owner:
        viewer = await owner.create_token(role="viewer")
        assert viewer.token.project == "projects/vision"
        assert {t.name async for t in owner.list_tokens()} == {made.token.name, viewer.token.name}
        assert (await owner.revoke_token(viewer.token.name)).HasField("revoke_time")
        for refused in ({"scopes": ["admin"]}, {"role": "viewer", "project": "projects/-"}):
            with pytest.raises(errors.PermissionDenied) as exceeded:
                await owner.create_token(**refused)
            assert exceeded.value.reason == "RIGHTS_EXCEEDED"
        with pytest.raises(errors.NotFound):
            await owner.create_token(role="viewer", project="speech")
        with pytest.raises(errors.NotFound):
            await owner.revoke_token(id_of(other) or "")
        with pytest.raises(errors.PermissionDenied):
            await owner.create_project("more")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "token.role"),
        ({"role": "viewer", "scopes": ["read"]}, "token.scopes"),
        ({"scopes": ["tokens"]}, "token.scopes"),
        ({"scopes": ["worker", "read"]}, "token.scopes"),
        ({"scopes": ["admin"], "project": "default"}, "token.project"),
        ({"role": "viewer", "project": "Not an id"}, "token.project"),
    ],
)
async def test_a_token_has_a_role_or_scopes(
    guarded: Guarded, fields: dict[str, Any], field: str
) -> None:
    async with guarded.client(await guarded.token(Scope.ADMIN)) as admin:
        with pytest.raises(errors.InvalidArgument) as refused:
            await admin.create_token(**fields)
    assert field in [violation.field for violation in refused.value.violations]


async def test_projects_from_creation_to_deletion(guarded: Guarded) -> None:
    admin_token = await guarded.token(Scope.ADMIN)
    async with guarded.client(admin_token) as admin:
        vision = await admin.create_project("vision", description="Eyes.")
        assert await admin.create_project("vision", description="Eyes.") == vision
        with pytest.raises(errors.AlreadyExists):
            await admin.create_project("vision", description="Ears.")
        token = await admin.create_token(role="viewer", project="vision")
        assert [p.name async for p in admin.list_projects(page_size=1)] == [
            "projects/default",
            "projects/vision",
        ]
        async with guarded.client(token.secret) as viewer:
            assert [p.name async for p in viewer.list_projects()] == ["projects/vision"]
            assert await viewer.get_project("vision") == vision
            with pytest.raises(errors.NotFound):
                await viewer.get_project("default")
        with pytest.raises(errors.FailedPrecondition, match="has tokens in force"):
            await admin.delete_project("vision")
        await admin.revoke_token(token.token.name)
        await admin.delete_project("vision")
        with pytest.raises(errors.NotFound):
            await admin.get_project("vision")
        with pytest.raises(errors.AlreadyExists, match="ids are not reused"):
            await admin.create_project("vision", description="Eyes.")
        with pytest.raises(errors.InvalidArgument):
            await admin.delete_project("default")
