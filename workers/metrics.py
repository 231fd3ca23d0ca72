"""Prometheus metrics of one worker, served by its parent process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tailrace.metrics_server import MetricsServer
from tailrace.tls_files import TlsFiles
from workers.broker_link import BrokerLink
from workers.pool.parent_socket import ParentSocket

ATTEMPT_BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86_400.0, 3 * 86_400.0)
"""Upper bounds of the histogram of attempts' durations, in seconds."""

_OUTCOMES = {"task-succeeded": "succeeded", "task-failed": "failed", "task-revoked": "released"}


class WorkerMetrics:
    """The metrics of the worker and their HTTP server."""

    def __init__(self, slots: int, parent_socket: ParentSocket, link: BrokerLink) -> None:
        """Create the metrics; gauges read their sources whenever metrics are collected.

        Args:
            slots: Number of the worker's slots.
            parent_socket: Source of leases and quarantines.
            link: Source of the state of the broker connection.
        """
        self.registry = CollectorRegistry()
        registry = self.registry
        self._seconds = Histogram(
            "tailrace_worker_attempt_seconds", "Duration of attempts that ended here.",
            ["kind", "outcome"], buckets=ATTEMPT_BUCKETS, registry=registry,
        )  # fmt: skip
        self._started = Counter(
            "tailrace_worker_attempts_started",
            "Attempts started here.",
            ["kind"],
            registry=registry,
        )
        gauges = {
            "slots": ("Slots of this worker.", lambda: slots),
            "busy_slots": ("Slots that run a stage.", lambda: len(parent_socket.leases())),
            "quarantined_slots": ("Slots in quarantine.", lambda: len(parent_socket.quarantine())),
            "broker_up": ("1 while connected to the broker, else 0.", lambda: not link.problem),
            "draining": ("1 while the worker shuts down, else 0.", lambda: parent_socket.draining),
        }
        for name, (text, read) in gauges.items():
            gauge = Gauge(f"tailrace_worker_{name}", text, registry=registry)
            gauge.set_function(read)

    def count(self, event: Mapping[str, Any]) -> None:
        """Count an attempt by its Celery event."""
        kind = str(event["name"]).removeprefix("tailrace.")
        outcome = _OUTCOMES.get(event["type"])
        if event["type"] == "task-started":
            self._started.labels(kind).inc()
        elif outcome is not None and "runtime" in event:
            self._seconds.labels(kind, outcome).observe(event["runtime"])

    def serve(
        self, host: str, port: int, *, tls: TlsFiles | None = None, token: Path | None = None
    ) -> int:
        """Serve ``/metrics`` from a thread; return the port, which the system chooses for 0.

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
            server = MetricsServer(self.registry, host, port, tls=tls, token=token)
        except OSError as error:
            raise OSError(
                f"TAILRACE_WORKER_METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}; "
                "choose another port, or end the process that listens there"
            ) from error
        return server.port
