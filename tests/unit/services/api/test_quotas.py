"""Quotas over gRPC: refusals, their details, and what clients make of them."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import tailrace
from services.runtime.fair_gate import FairGate
from services.storage.rows.access.projects import projects
from services.usecases.runs import read
from tailrace.errors import NotFound
from tailrace.v1 import quota_pb2, quota_pb2_grpc, run_pb2
from tests.unit.services.api_client import ApiClient, serving
from tests.unit.services.driver import MOMENT

OTHER = (("tailrace-project", "other"),)


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with serving(sqlite_url, tmp_path / "data") as client:
        yield client


def stub(api: ApiClient) -> Any:
    return quota_pb2_grpc.QuotaServiceStub(api.channel)


async def set_limit(api: ApiClient, word: str, most: int) -> None:
    kind = quota_pb2.QuotaKind.Value(f"QUOTA_KIND_{word.upper()}")
    change = quota_pb2.QuotaChange(kind=kind, limit=most)
    await stub(api).SetQuotas(quota_pb2.SetQuotasRequest(changes=[change]))


async def refusal(call: Any) -> tuple[error_details_pb2.ErrorInfo, float | None, list[str]]:
    """The details of a refusal: the facts, the delay before a retry, and the violated quotas."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error.value.details()
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]
    assert status is not None
    info, failure = error_details_pb2.ErrorInfo(), error_details_pb2.QuotaFailure()
    retry, delay = error_details_pb2.RetryInfo(), None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(failure)
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToTimedelta().total_seconds()
    return info, delay, [f"{v.subject} {v.description}" for v in failure.violations]


async def test_quotas_are_set_and_read(api: ApiClient) -> None:
    await api.create()
    await set_limit(api, "unfinished_runs", 7)
    quotas = await stub(api).GetQuotas(quota_pb2.GetQuotasRequest(name="projects/default/quotas"))
    assert quotas.name == "projects/default/quotas"
    first, *others = quotas.quotas
    assert first == quota_pb2.Quota(
        kind=quota_pb2.QUOTA_KIND_UNFINISHED_RUNS, limit=7, overridden=True, use=1
    )
    assert not any(quota.HasField("limit") or quota.overridden for quota in others)
    assert len(quotas.quotas) == len(quota_pb2.QuotaKind.keys()) - 1
    usage = await stub(api).SumUsage(
        quota_pb2.SumUsageRequest(group_by=quota_pb2.USAGE_GROUP_PROJECT)
    )
    assert [entry.key for entry in usage.usage] == ["default"]
    assert usage.usage[0].stored_bytes > 0


async def test_a_refusal_names_the_quota_its_limit_and_its_use(api: ApiClient) -> None:
    await set_limit(api, "unfinished_runs", 1)
    await api.create("a")
    info, delay, violations = await refusal(api.create("b"))
    assert info.reason == "TOO_MANY_RUNS"
    assert dict(info.metadata) == {
        "quota": "unfinished_runs",
        "project": "default",
        "limit": "1",
        "use": "1",
    }
    assert violations == ["projects/default quota unfinished_runs"]
    assert delay is None
    registry = api.plane.metrics.registry
    refusals = {"quota": "unfinished_runs"}
    assert registry.get_sample_value("tailrace_quota_refusals_total", refusals) == 1


async def test_calls_that_come_too_often_are_told_when_to_come_again(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_limit(api, "caller_requests_per_second", 5)
    # Time stands still, however slow the calls are.
    rates = api.plane._quotas._rates
    monkeypatch.setattr(rates, "take", functools.partial(rates.take, now=0.0))
    request = run_pb2.ListRunsRequest()
    for _ in range(10):
        await api.runs.ListRuns(request)
    info, delay, _ = await refusal(api.runs.ListRuns(request))
    assert info.reason == "TOO_MANY_REQUESTS"
    assert info.metadata["quota"] == "caller_requests_per_second"
    assert delay is not None
    assert 0 < delay <= 0.2
    # Streams are counted alike, and workers are not counted.
    info, _, _ = await refusal(api.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r")).read())
    assert info.reason == "TOO_MANY_REQUESTS"
    for _ in range(20):
        await api.register()


async def test_the_sdk_waits_as_long_as_the_server_asks(api: ApiClient) -> None:
    await set_limit(api, "requests_per_second", 10)
    async with tailrace.AsyncClient(api.plane.address) as client:
        started = time.monotonic()
        for _ in range(26):
            with pytest.raises(NotFound):
                await client.get_run("missing")
        assert time.monotonic() - started > 0.4


async def test_streams_of_a_project_are_limited(api: ApiClient) -> None:
    await set_limit(api, "open_streams", 1)
    await api.create()
    request = run_pb2.WatchRunRequest(name="runs/r")
    first = api.runs.WatchRun(request)
    await first.read()
    info, delay, _ = await refusal(api.runs.WatchRun(request).read())
    assert (info.reason, info.metadata["use"]) == ("TOO_MANY_STREAMS", "1")
    assert delay is not None
    first.cancel()


async def test_one_client_with_many_calls_does_not_keep_another_waiting(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api.plane.context.database.write() as conn:
        row = {"project_id": "other", "description": "", "create_time": MOMENT}
        await conn.execute(projects.insert(), row)
    api.plane._quotas._gate = FairGate(8)
    begun, end = 0, asyncio.Event()
    get_run = read.get_run

    async def slow(context: Any, caller: Any, run_id: str) -> Any:
        nonlocal begun
        if caller.project == "default":
            begun += 1
            await end.wait()
        return await get_run(context, caller, run_id)

    monkeypatch.setattr(read, "get_run", slow)
    await api.create()
    request = run_pb2.GetRunRequest(name="runs/r")
    many = [asyncio.ensure_future(api.runs.GetRun(request)) for _ in range(40)]
    async with asyncio.timeout(30):
        while begun < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await api.runs.GetRun(request, metadata=OTHER)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        assert begun == 4
        end.set()
        assert len(await asyncio.gather(*many)) == 40
