"""Limits that keep one client from harming the others."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from services import interceptors
from services.storage.rows import logs
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc, dataset_pb2, run_pb2, stage_pb2
from tests.unit.services.api_client import ApiClient, decoded, failing, serving

LINE = "x" * 8000
BATCHES = 40
PER_BATCH = 100


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiClient]:
    limits: dict[str, Any] = {
        "max_unfinished_runs": 3,
        "max_runs_per_label": {"team": 1},
        "max_open_streams": 2,
        "max_open_uploads": 3,
        "upload_idle_seconds": 1.0,
    }
    async with serving(sqlite_url, tmp_path / "data", **limits) as client:
        yield client


async def test_unfinished_runs_are_bounded_per_label_and_in_all(api: ApiClient) -> None:
    await api.create("r1", labels={"team": "a"})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.create("r2", labels={"team": "a"})
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert decoded(refused.value)[0] == "TOO_MANY_RUNS"
    assert "labels.team = 'a'" in str(refused.value.details())
    await api.create("r2")
    # Leaving the label out does not evade its quota.
    with pytest.raises(grpc.aio.AioRpcError, match=r"without labels\.team, has 1 unfinished"):
        await api.create("r3", labels={"other": "x"})
    await api.create("r3", labels={"team": "b"})
    with pytest.raises(grpc.aio.AioRpcError, match="project default has 3 unfinished"):
        await api.create("r4", labels={"team": "c"})
    # A run that ended makes room.
    await api.runs.CancelRun(run_pb2.CancelRunRequest(name="runs/r1"))
    await api.create("r4", labels={"team": "a"})


async def test_open_streams_are_bounded_and_ended_ones_make_room(api: ApiClient) -> None:
    await api.create("r")
    request = run_pb2.WatchRunRequest(name="runs/r")
    open_ones = [api.runs.WatchRun(request) for _ in range(2)]
    for stream in open_ones:
        await stream.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r", follow=True)).read()
    assert decoded(refused.value)[0] == "TOO_MANY_STREAMS"
    open_ones[0].cancel()
    async with asyncio.timeout(30):
        while not await _served(api.runs.WatchRun(request)):  # noqa: ASYNC110 - theirs to end
            await asyncio.sleep(0.05)


async def _served(call: Any) -> bool:
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return False
        raise
    return True


async def test_a_reader_that_does_not_read_holds_little_and_hinders_nobody(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await api.create("r")
    await api.register()
    await _write_log(api, (await api.acquire(run)).lease_token)
    record_count = 0
    read = logs.read

    async def counted(*arguments: Any) -> Any:
        nonlocal record_count
        chunks = await read(*arguments)
        record_count += sum(len(chunk.records) for chunk in chunks)
        return chunks

    monkeypatch.setattr(logs, "read", counted)
    slow = aiter(api.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r")))
    first = await anext(slow)
    # The client stops reading: what the server has read for it stops growing, far below the log.
    before = -1
    while before != record_count:
        before = record_count
        await asyncio.sleep(0.5)
    assert record_count < BATCHES * PER_BATCH / 2
    # Another reader gets everything meanwhile, and the slow one in the end.
    assert await _lines(api.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r"))) == (
        BATCHES * PER_BATCH
    )
    assert len(first.lines) + await _lines(slow) == BATCHES * PER_BATCH


async def _write_log(api: ApiClient, token: str) -> None:
    line = stage_pb2.StageEvent(log=stage_pb2.LogRecord(level=run_pb2.LOG_LEVEL_INFO, text=LINE))

    async def batches() -> AsyncIterator[stage_pb2.PublishEventsRequest]:
        for i in range(BATCHES):
            yield stage_pb2.PublishEventsRequest(
                lease_token=token, first_sequence=i * PER_BATCH + 1, events=[line] * PER_BATCH
            )

    answers = [answer async for answer in api.stages.PublishEvents(batches())]
    assert answers[-1].acknowledged_sequence == BATCHES * PER_BATCH


async def _lines(stream: Any) -> int:
    return sum([len(batch.lines) async for batch in stream])


def _descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_open_uploads_are_bounded_and_silent_ones_end(api: ApiClient) -> None:
    """A stream that sends a header and then nothing holds a place until it is given up."""
    header = dataset_pb2.ImportDatasetHeader(dataset_id="slow")
    descriptors = _descriptors()
    slow = [api.datasets.ImportDataset() for _ in range(3)]
    for call in slow:
        await call.write(dataset_pb2.ImportDatasetRequest(header=header))
    await asyncio.sleep(0.1)
    assert _descriptors() <= descriptors
    artifacts = artifact_pb2_grpc.ArtifactServiceStub(api.channel)
    open = artifacts.Write(iter([artifact_pb2.WriteRequest(resource_name="x")]))
    reason, _ = await failing(open, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert reason == "TOO_MANY_STREAMS"
    for call in slow:
        assert (await failing(call, grpc.StatusCode.UNAVAILABLE))[0] == "STREAM_IDLE"
    again = artifacts.Write(iter([artifact_pb2.WriteRequest(resource_name="x")]))
    await failing(again, grpc.StatusCode.INVALID_ARGUMENT)


async def test_uploads_and_imports_leave_the_reserve_of_the_disk(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with serving(sqlite_url, tmp_path / "data") as api:
        blobs: Any = api.plane.context.blobs.of("default")
        blobs._min_free_bytes = shutil.disk_usage(tmp_path).total
        name = f"uploads/{uuid.uuid4()}/blobs/{'0' * 64}/{10 << 20}"
        artifacts = artifact_pb2_grpc.ArtifactServiceStub(api.channel)
        call = artifacts.Write(iter([artifact_pb2.WriteRequest(resource_name=name, data=b"x")]))
        reason, _ = await failing(call, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert reason == "STORAGE_FULL"
        assert "TAILRACE_MIN_FREE_BYTES" in await call.details()


async def test_an_import_leaves_the_reserve_of_the_disk(sqlite_url: str, tmp_path: Path) -> None:
    async with serving(sqlite_url, tmp_path / "data") as api:
        settings = api.plane.context.settings
        object.__setattr__(settings, "min_free_bytes", shutil.disk_usage(tmp_path).total)
        header = dataset_pb2.ImportDatasetHeader(dataset_id="d")
        messages = [
            dataset_pb2.ImportDatasetRequest(header=header),
            dataset_pb2.ImportDatasetRequest(data=b"{}"),
        ]
        call = api.datasets.ImportDataset(iter(messages))
        reason, _ = await failing(call, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert reason == "STORAGE_FULL"


async def test_a_forged_lease_is_refused_before_its_body_is_looked_at(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.register()
    lease = (await api.acquire(await api.create("r"))).lease_token
    looked_at: list[str] = []
    monkeypatch.setattr(
        interceptors, "check_request", lambda request: looked_at.append(type(request).__name__)
    )
    forged = lease[:-1] + ("0" if lease[-1] != "0" else "1")
    artifacts = [artifact_pb2.Artifact()] * 100_000
    for token in ("", "forged", forged):
        complete = stage_pb2.CompleteStageRequest(lease_token=token, artifacts=artifacts)
        fail = stage_pb2.FailStageRequest(lease_token=token)
        release = stage_pb2.ReleaseStageRequest(lease_token=token)
        publish = stage_pb2.PublishEventsRequest(lease_token=token)
        for call in (
            api.stages.CompleteStage(complete),
            api.stages.FailStage(fail),
            api.stages.ReleaseStage(release),
            api.stages.PublishEvents(iter([publish])).read(),
        ):
            reason, _ = await failing(call, grpc.StatusCode.FAILED_PRECONDITION)
            assert reason == "LEASE_LOST"
    assert looked_at == []
