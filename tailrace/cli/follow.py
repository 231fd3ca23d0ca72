"""A run followed live: three streams shown in one view."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tailrace.client.aio import AsyncClient
from tailrace.v1 import run_pb2


class View(Protocol):
    """Display of a run in progress; all calls come from one thread."""

    def run(self, run: run_pb2.Run) -> None:
        """Show a changed run."""

    def log(self, stage: str, attempt: int, line: run_pb2.LogLine) -> None:
        """Show a log line."""

    def metric(self, stage: str, point: run_pb2.MetricPoint) -> None:
        """Show a metric point."""


async def follow(client: AsyncClient, name: str, view: View) -> run_pb2.Run:
    """Show a run with all its log lines until it has ended, and return the ended run.

    Raises:
        TailraceError: A stream failed.
    """
    readers = [_watch(client, name, view), _logs(client, name, view), _metrics(client, name, view)]
    tasks = [asyncio.create_task(reader) for reader in readers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return await client.get_run(name)


async def _watch(client: AsyncClient, name: str, view: View) -> None:
    async for run in client.watch_run(name):
        view.run(run)


async def _logs(client: AsyncClient, name: str, view: View) -> None:
    async for batch in client.stream_logs(name, follow=True):
        for line in batch.lines:
            view.log(batch.stage, batch.attempt, line)


async def _metrics(client: AsyncClient, name: str, view: View) -> None:
    async for batch in client.stream_metrics(name, follow=True, metric_names=["loss"]):
        for point in batch.points:
            view.metric(batch.stage, point)
