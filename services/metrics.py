"""Prometheus metrics of one control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.domain.access.audit import ChainState
from services.domain.errors import DomainError, QuotaExceeded, Unavailable
from services.domain.quota import Quota
from services.domain.run import RunState
from services.domain.worker import WorkerState
from services.storage.engine.columns import utc_now
from services.storage.rows import capacity, runs, workers
from services.storage.rows.access import audit, quotas
from services.usecases.context import Context
from tailrace.metrics_server import MetricsServer
from tailrace.tls_files import TlsFiles

SAMPLE_SECONDS = 10.0
"""Seconds between readings of the database."""

MAX_PROJECTS = 20
"""Maximum number of projects in the labels of a metric."""

STORED_SECONDS = 60.0
"""Seconds between readings of the stored bytes, which take longer."""

STREAM_BUCKETS = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0)
"""Upper bounds of stream durations in seconds: a run's logs are followed for days."""

SHARED = "Read from the database: every control plane shows the same, so aggregate with max."
"""Help text of metrics that must not be summed over replicas."""


class Metrics:
    """Metrics and the HTTP server that exposes them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._server: MetricsServer | None = None
        registry = self.registry
        self.calls = Counter(
            "tailrace_rpc_calls", "Finished calls.", ["method", "code"], registry=registry
        )
        self.seconds = Histogram(
            "tailrace_rpc_seconds", "Duration of calls, without streams.", ["method"],
            registry=registry,
        )  # fmt: skip
        self.stream_seconds = Histogram(
            "tailrace_rpc_stream_seconds", "Duration of streams.", ["method"],
            buckets=STREAM_BUCKETS, registry=registry,
        )  # fmt: skip
        self.open_streams = Gauge(
            "tailrace_rpc_open_streams", "Streams that are open.", ["method"], registry=registry
        )
        self.refusals = Counter(
            "tailrace_quota_refusals", "Calls refused by a quota.", ["quota"], registry=registry
        )
        self.project_use = Gauge(
            "tailrace_project_use",
            "Use of a quota (unfinished_runs, running_runs, stored_bytes) by the "
            f"{MAX_PROJECTS} projects that use most; an empty project sums up the others. {SHARED}",
            ["quota", "project"],
            registry=registry,
        )
        self.publications = Counter(
            "tailrace_publications",
            "Stages handed to the broker (first, repeated), refused by it (failed), or found to "
            "wait in their queue (put_off).",
            ["result"],
            registry=registry,
        )
        self.broker_up = Gauge(
            "tailrace_broker_up", "1 while the broker takes stages, else 0.", registry=registry
        )
        self.database_up = Gauge(
            "tailrace_database_up", "1 while the database answers, else 0.", registry=registry
        )
        self.certificate_expiry = Gauge(
            "tailrace_certificate_expiry_timestamp_seconds",
            "Time at which the certificate of a listener (clients, workers) expires.",
            ["listener"],
            registry=registry,
        )
        self.worker_certificate_expiry = Gauge(
            "tailrace_worker_certificate_expiry_timestamp_seconds",
            "Time at which the certificate with which a worker last called expires.",
            ["worker"],
            registry=registry,
        )
        self.outbox = Gauge(
            "tailrace_outbox_depth",
            f"Queued stages that no worker has claimed. {SHARED}",
            ["pool"],
            registry=registry,
        )
        self.runs = Gauge("tailrace_runs", f"Runs by state. {SHARED}", ["state"], registry=registry)
        self.workers = Gauge(
            "tailrace_workers",
            f"Workers by state; NO_BROKER: online, without a broker connection. {SHARED}",
            ["state"],
            registry=registry,
        )
        self.slots = Gauge(
            "tailrace_slots",
            f"Slots of online workers by pool: all, and those that are busy. {SHARED}",
            ["pool", "state"],
            registry=registry,
        )

        self.audit_unchained = Gauge(
            "tailrace_audit_unchained_events",
            f"Events of the audit log that the hash chain does not cover yet. {SHARED}",
            registry=registry,
        )
        self.audit_unchained_seconds = Gauge(
            "tailrace_audit_oldest_unchained_seconds",
            f"Age of the oldest of these events; 0 without one. {SHARED}",
            registry=registry,
        )

    def count_error(self, method: str, error: DomainError) -> None:
        """Count a call that ended with an error of the domain."""
        self.calls.labels(method, error.code.name).inc()
        self.count_refusal(error)

    def count_refusal(self, error: DomainError) -> None:
        """Count an error by its quota, if it is that of one."""
        if isinstance(error, QuotaExceeded):
            self.refusals.labels(error.quota).inc()

    def count_publication(self, result: str) -> None:
        """Count the outcome for a stage that was due: first, repeated, failed or put_off."""
        self.publications.labels(result).inc()

    async def serve(
        self, host: str, port: int, *, tls: TlsFiles | None = None, token: Path | None = None
    ) -> int:
        """Serve ``/metrics`` from a thread and return the port, which the system chooses for 0.

        Args:
            host: Address to listen on.
            port: Port to listen on.
            tls: See :class:`MetricsServer`, like the next one.
            token: File with the token that clients must present.

        Raises:
            OSError: The port is taken; the message names the setting.
            ValueError: A file cannot be used.
        """
        try:
            server = await asyncio.to_thread(
                MetricsServer, self.registry, host, port, tls=tls, token=token
            )
        except OSError as error:
            raise OSError(
                f"TAILRACE_METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}; choose "
                "another port, or stop the program that listens there"
            ) from error
        self._server = server
        return server.port

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    async def sample(self, context: Context) -> None:
        """Read the gauges from the database until the shutdown."""
        use: dict[Quota, dict[str, int]] = {}
        next_stored = 0.0
        while True:
            try:
                async with context.database.read() as conn:
                    fleet = await capacity.read(conn)
                    runs_by_state = await runs.count_by_state(conn)
                    workers_by_state = await workers.count_by_state(conn)
                    without_broker = await workers.list_without_broker(conn)
                    for quota in (Quota.UNFINISHED_RUNS, Quota.RUNNING_RUNS):
                        use[quota] = await quotas.use_by_project(conn, quota)
                    if time.monotonic() >= next_stored:
                        stored = await quotas.use_by_project(conn, Quota.STORED_BYTES)
                        use[Quota.STORED_BYTES] = stored
                        next_stored = time.monotonic() + STORED_SECONDS
                    chain = await audit.chain_state(conn)
            except Unavailable:
                # The gauges keep their last values; the health monitor logs the outage.
                pass
            else:
                _set(self.outbox, {(pool,): count for pool, count in fleet.queued.items()})
                _set(self.runs, {(state,): runs_by_state.get(state, 0) for state in RunState})
                _set(self.workers, {
                    **{(state,): workers_by_state.get(state, 0) for state in WorkerState},
                    ("NO_BROKER",): len(without_broker),
                })  # fmt: skip
                _set(self.slots, {
                    **{(pool, "all"): count for pool, count in fleet.served.items()},
                    **{(pool, "busy"): fleet.busy.get(pool, 0) for pool in fleet.served},
                })  # fmt: skip
                _set(self.project_use, {
                    (quota, project): amount
                    for quota, by_project in use.items()
                    for project, amount in largest(by_project, MAX_PROJECTS).items()
                })  # fmt: skip
                self._set_unchained(chain)
            if await context.shutdown.sleep(SAMPLE_SECONDS):
                return

    def _set_unchained(self, chain: ChainState) -> None:
        oldest = chain.oldest_unchained
        age = 0.0 if oldest is None else (utc_now() - oldest).total_seconds()
        self.audit_unchained.set(chain.unchained)
        self.audit_unchained_seconds.set(max(0.0, age))


def largest(amounts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the largest amounts by project, and under an empty name the sum of the others."""
    ranking = sorted(amounts, key=lambda project: (-amounts[project], project))
    remainder = sum(amounts[project] for project in ranking[most:])
    largest_amounts = {project: amounts[project] for project in ranking[:most]}
    return largest_amounts | ({"": remainder} if remainder else {})


def _set(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Replace all values of a gauge, keyed by the values of its labels."""
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
