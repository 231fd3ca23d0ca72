from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tailrace import AsyncClient
from tailrace.retry import RetryPolicy


async def test_two_streams_run_side_by_side(plane: Any, quick: RetryPolicy) -> None:
    async with AsyncClient(plane.address, retry=quick) as client:

        async def lines() -> int:
            return sum([len(batch.lines) async for batch in client.stream_logs("demo")])

        async def points() -> list[float]:
            return [p.value async for b in client.stream_metrics("demo") for p in b.points]

        count, values = await asyncio.gather(lines(), points())
        assert count == 20
        assert values == [5.0, 2.5, 5 / 3, 1.25, 1.0]


async def test_reading_a_slow_file_does_not_block_the_loop(
    plane: Any, quick: RetryPolicy, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "d.jsonl").write_bytes(b"x" * 100)
    original = Path.open

    def slow_open(self: Path, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.3)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", slow_open)
    longest = 0.0

    async def watch_the_loop() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    async with AsyncClient(plane.address, retry=quick) as client:
        watcher = asyncio.create_task(watch_the_loop())
        await client.import_dataset("mine", tmp_path / "d.jsonl")
        watcher.cancel()
    assert plane.datasets.content["mine"] == b"x" * 100
    assert 0 < longest < 0.25


async def test_cancelling_a_reader_ends_its_call(plane: Any, quick: RetryPolicy) -> None:
    async with AsyncClient(plane.address, retry=quick) as client:
        plane.faults.codes["WatchRun"] = []

        async def never() -> None:
            async for _ in client.watch_run("demo", after_revision=0):
                await asyncio.sleep(60)

        task = asyncio.create_task(never())
        await asyncio.sleep(0.1)
        task.cancel()
        assert isinstance(
            (await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError
        )
