"""Only who holds the worker token may call what workers call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import generate_latest

from tailrace.v1 import run_pb2, stage_pb2
from tailrace.worker_token import VARIABLE, WorkerToken, make
from tests.unit.services.api_client import ApiClient, failing, serving

SERVICE = stage_pb2.DESCRIPTOR.services_by_name["StageService"]

Metadata = tuple[tuple[str, str], ...]

WRONG: list[Metadata] = [
    (),
    (("authorization", "Bearer "),),
    (("authorization", f"Bearer {'x' * 43}"),),
    (("authorization", "Basic dXNlcjpwYXNz"),),
]


def raw_call(api: ApiClient, name: str, body: bytes, metadata: Metadata) -> Any:
    """A call with a body that this side does not look into."""
    path = f"/{SERVICE.full_name}/{name}"
    if SERVICE.methods_by_name[name].client_streaming:
        # Nothing is sent: an answer cannot have waited for it.
        return api.channel.stream_stream(path)(metadata=metadata).read()
    return api.channel.unary_unary(path)(body, metadata=metadata)


@pytest.mark.parametrize("method", list(SERVICE.methods_by_name))
async def test_nobody_is_a_worker_without_the_token(api: ApiClient, method: str) -> None:
    # The server refuses to receive more than a mebibyte, and to read what is not a message.
    for body in (b"", b"\xff" * 1000, b"x" * (2 << 20)):
        for metadata in WRONG:
            call = asyncio.wait_for(raw_call(api, method, body, metadata), 10)
            reason, _ = await failing(call, grpc.StatusCode.UNAUTHENTICATED)
            assert reason == "WORKER_TOKEN"


async def test_the_refusal_says_where_the_token_is(api: ApiClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=f"{VARIABLE}.*worker-token in its data folder"):
        await raw_call(api, "RegisterWorker", b"", ())
    await api.register()


async def test_an_invented_method_adds_no_metric(api: ApiClient) -> None:
    path = f"/{SERVICE.full_name}/Invented"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await api.channel.unary_unary(path)(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "Invented" not in generate_latest(api.plane.metrics.registry).decode()


async def test_clients_need_none(api: ApiClient) -> None:
    await api.create()
    assert (await api.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))).name == "runs/r"


async def test_a_token_is_made_at_the_start_and_may_be_replaced(
    sqlite_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    async with serving(sqlite_url, folder, worker_token_file=None) as api:
        file = folder / "worker-token"
        body = stage_pb2.ConfirmDispatchRequest(task_id="x").SerializeToString()
        old = WorkerToken(file).metadata()
        await failing(raw_call(api, "ConfirmDispatch", body, old), grpc.StatusCode.INVALID_ARGUMENT)
        new = file.with_name("new")
        make(new)
        new.replace(file)
        await failing(raw_call(api, "ConfirmDispatch", body, old), grpc.StatusCode.UNAUTHENTICATED)
        await failing(
            raw_call(api, "ConfirmDispatch", body, WorkerToken(file).metadata()),
            grpc.StatusCode.INVALID_ARGUMENT,
        )
