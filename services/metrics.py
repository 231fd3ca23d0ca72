"""Prometheus metrics of one control plane."""

from __future__ import annotations

import asyncio
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from services.domain.errors import Unavailable
from services.domain.run import RunState
from services.storage import outbox, runs
from services.usecases.context import Context

SAMPLE_SECONDS = 10.0
"""How often counts are read from the database, in seconds."""


class Metrics:
    """The metrics and the server that shows them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._server: WSGIServer | None = None
        self.calls = Counter(
            "tailrace_rpc_calls", "Finished calls.", ["method", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "tailrace_rpc_seconds", "Duration of calls.", ["method"], registry=self.registry
        )
        self.outbox = Gauge(
            "tailrace_outbox_depth",
            "Queued stages that no worker has claimed.",
            ["pool"],
            registry=self.registry,
        )
        self.runs = Gauge("tailrace_runs", "Runs by state.", ["state"], registry=self.registry)

    async def serve(self, host: str, port: int) -> int:
        """Serve ``/metrics`` from a thread; the port, chosen by the system for 0."""
        server, _thread = await asyncio.to_thread(start_http_server, port, host, self.registry)
        self._server = server
        return server.server_port

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    async def sample(self, context: Context) -> None:
        """Read the gauges from the database until the shutdown."""
        while True:
            try:
                async with context.database.read() as conn:
                    depth = await outbox.depth(conn)
                    by_state = await runs.count_by_state(conn)
            except Unavailable:
                # The gauges keep their last value; the database's absence is logged where it hit.
                pass
            else:
                self.outbox.clear()
                for pool, count in depth.items():
                    self.outbox.labels(pool).set(count)
                for state in RunState:
                    self.runs.labels(state).set(by_state.get(state, 0))
            if await context.shutdown.sleep(SAMPLE_SECONDS):
                return
