"""Health checks for containers; exit status 0 is healthy, 1 is not, with the reason on stderr.

``health.py server HOST:PORT`` asks the control plane's grpc.health.v1 (with TLS if the environment
says so: TAILRACE_CA_FILE), ``health.py http URL`` looks
for an answer 200, ``health.py worker`` asks the control plane (TAILRACE_SERVER) whether a worker on
this host is alive. The last one tells an operator; nothing shall restart a worker for it, because a
control plane that is away is no fault of the worker's.
"""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Callable

import grpc

SECONDS = 4.0
"""Longest time that a check takes."""


def check_server(address: str) -> None:
    """Raise unless the server says SERVING."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from tailrace.channel import connect
    from tailrace.environment import resolve

    with connect(*resolve(address)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise RuntimeError(f"{address} is not serving")


def check_worker() -> None:
    """Raise unless the control plane knows a live worker on this host."""
    from tailrace import Client
    from tailrace.v1 import worker_pb2

    alive = (worker_pb2.WORKER_STATE_ONLINE, worker_pb2.WORKER_STATE_DRAINING)
    with Client(timeout=SECONDS) as client:
        here = [w for w in client.list_workers() if w.hostname == socket.gethostname()]
    if not any(worker.state in alive for worker in here):
        raise RuntimeError(f"no worker on {socket.gethostname()} is alive")


def check_http(url: str) -> None:
    """Raise unless the address answers 200."""
    if not url.startswith("http://127.0.0.1:"):
        raise ValueError("only this host is checked")
    # This host is asked itself, never a proxy that the environment names.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=SECONDS) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{url} answers {answer.status}")


def main(args: list[str]) -> int:
    """Run the check that the arguments name."""
    checks: dict[str, Callable[..., None]] = {
        "server": check_server,
        "worker": check_worker,
        "http": check_http,
    }
    if not args or args[0] not in checks:
        sys.stderr.write(f"usage: health.py {'|'.join(checks)} [ADDRESS]\n")
        return 2
    try:
        checks[args[0]](*args[1:])
    except grpc.RpcError as error:
        sys.stderr.write(f"unhealthy: {error.code().name}: {error.details()}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported as unhealthy
        sys.stderr.write(f"unhealthy: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
