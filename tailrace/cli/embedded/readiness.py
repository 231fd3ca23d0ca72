"""Readiness probes of the embedded stack's processes."""

from __future__ import annotations

import json

import grpc

from tailrace.channel import connect
from tailrace.client.blocking import Client
from tailrace.v1 import worker_pb2

_PROBE_SECONDS = 2.0


def listening_address(log: str) -> str | None:
    """Return the address in the control plane's log (JSON lines), or None before it listens."""
    for line in log.splitlines():
        if '"listening"' in line and line.startswith("{"):
            entry = json.loads(line)
            if entry.get("event") == "listening":
                return str(entry["address"])
    return None


def is_serving(address: str) -> bool | None:
    """Return True once grpc.health.v1 reports SERVING, None before."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with connect(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS
            )
        except grpc.RpcError:
            return None
    return True if answer.status == health_pb2.HealthCheckResponse.SERVING else None


def registered_worker(client: Client, name: str, since: float) -> worker_pb2.Worker | None:
    """Return the worker once it has registered after ``since`` (seconds since the epoch).

    It is then online, unless an operator drained it; None before.
    """
    for worker in client.list_workers():
        registered = worker.register_time.ToNanoseconds() / 1e9 >= since
        if worker.name == name and registered:
            online = worker.state == worker_pb2.WORKER_STATE_ONLINE
            return worker if online or worker.drained else None
    return None
