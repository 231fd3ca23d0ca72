from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tailrace
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.v1 import stage_pb2, worker_pb2
from tests.servers.control_plane import ServedControlPlane
from tests.servers.node import free_port
from tests.servers.worker_token import WorkerStub

HEALTH = Path(__file__).parents[3] / "deploy/health.py"


@pytest.fixture(scope="module")
def served(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    made = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("health"))
    yield made
    made.stop()


def check(*args: str, server: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HEALTH), *args],
        # A host's proxy is for others: nobody listens there.
        env={"TAILRACE_SERVER": server, "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_serving_control_plane_is_healthy(served: ServedControlPlane) -> None:
    assert check("server", served.address).returncode == 0


def test_a_worker_is_healthy_once_it_is_registered(served: ServedControlPlane) -> None:
    before = check("worker", server=served.address)
    assert before.returncode == 1
    assert "no worker" in before.stderr
    with tailrace.Client(served.address) as client:
        WorkerStub(client.channel).RegisterWorker(
            stage_pb2.RegisterWorkerRequest(
                worker_id="here",
                hostname=socket.gethostname(),
                pools=["cpu"],
                slots=[worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU)],
                protocol_version=PROTOCOL_VERSION,
                instance_id="the-instance-of-here",
            )
        )
    after = check("worker", server=served.address)
    assert after.returncode == 0, after.stderr


def test_what_is_not_there_is_unhealthy() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    for args in (["server", nobody], ["http", f"http://{nobody}/"], ["http", "file:///etc"]):
        done = check(*args)
        assert done.returncode == 1
        assert "unhealthy" in done.stderr
        assert "Traceback" not in done.stderr
    assert check("nonsense").returncode == 2
