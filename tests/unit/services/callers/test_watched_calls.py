"""Streams have a largest age, and who follows a run notices nothing of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc

from tailrace import AsyncClient
from tailrace.access import Access
from tailrace.v1 import run_pb2, stage_pb2
from tests.unit.services.api_client import failing, serving

LINES = 80


async def test_followers_and_workers_continue_streams_that_have_aged(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with serving(
        sqlite_url, tmp_path / "data", max_stream_seconds=0.4, poll_seconds=0.02
    ) as api:
        run = await api.create()
        await api.register()
        order = await api.acquire(run)

        codes: set[grpc.StatusCode] = set()

        async def publish() -> None:
            """Report as a worker: what is not acknowledged is sent again."""
            acknowledged = 0
            while acknowledged < LINES:
                call = api.stages.PublishEvents()
                try:
                    while acknowledged < LINES:
                        text = f"line {acknowledged + 1}"
                        event = stage_pb2.StageEvent(log=stage_pb2.LogRecord(text=text))
                        await call.write(
                            stage_pb2.PublishEventsRequest(
                                lease_token=order.lease_token,
                                first_sequence=acknowledged + 1,
                                events=[event],
                            )
                        )
                        answer = await call.read()
                        acknowledged = answer.acknowledged_sequence
                        await asyncio.sleep(0.02)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    # Reading tells of the end, or writing to a stream that has ended.
                    codes.add(await call.code())

        texts: list[str] = []
        async with AsyncClient(api.plane.address, access=Access()) as client:
            worker = asyncio.create_task(publish())
            async with asyncio.timeout(60):
                async for batch in client.stream_logs(run.name, follow=True):
                    texts += [line.text for line in batch.lines]
                    if len(texts) == LINES:
                        break
            await asyncio.wait_for(worker, 10)
        # grpc.aio reports INTERNAL by itself when it writes to a stream that ends meanwhile.
        assert codes - {grpc.StatusCode.INTERNAL} == {grpc.StatusCode.UNAVAILABLE}
        assert texts == [f"line {number + 1}" for number in range(LINES)]
        calls: Any = api.plane.metrics.registry.get_sample_value
        for method in ("RunService/StreamLogs", "StageService/PublishEvents"):
            labels = {"method": method, "code": "UNAVAILABLE"}
            assert calls("tailrace_rpc_calls_total", labels) >= 3
        watch = api.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r"))

        async def read_on() -> None:
            while await watch.read() is not grpc.aio.EOF:
                pass

        assert (await failing(read_on(), grpc.StatusCode.UNAVAILABLE))[0] == "STREAM_AGED"
