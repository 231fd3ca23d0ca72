"""The whole control plane over real gRPC: start, health, drain, end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from services.__main__ import main
from services.server import SERVICES, ControlPlane
from services.settings import Settings
from tailrace.formats.service_url import sqlite_path
from tailrace.v1 import (
    dataset_pb2,
    run_pb2,
)
from tests.servers.node import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.worker_token import token_file
from tests.unit.services.api_client import ApiClient, failing, serving


async def test_health_reflection_and_metrics_are_served(api: ApiClient) -> None:
    health = health_pb2_grpc.HealthStub(api.channel)
    for service in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    for version in ("v1", "v1alpha"):
        names = await reflected_services(api, version)
        assert {*SERVICES, "grpc.reflection.v1.ServerReflection"} < names
    port = api.plane.metrics_port
    url = f"http://127.0.0.1:{port}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    assert 'tailrace_rpc_calls_total{code="OK",method="DatasetService/SeedDataset"} 1.0' in text


async def reflected_services(api: ApiClient, version: str) -> set[str]:
    """Return the services that grpcurl would list; check reflection's own description."""
    service = f"grpc.reflection.{version}.ServerReflection"
    call = api.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=service),
        reflection_pb2.ServerReflectionRequest(list_services=""),
    ]
    described, listed = [answer async for answer in call(iter(requests))]
    file = descriptor_pb2.FileDescriptorProto.FromString(
        described.file_descriptor_response.file_descriptor_proto[0]
    )
    assert file.package == f"grpc.reflection.{version}"
    assert file.service[0].method[0].input_type.startswith(f".grpc.reflection.{version}.")
    return {service.name for service in listed.list_services_response.service}


async def test_streams_have_metrics_of_their_own(api: ApiClient) -> None:
    await api.create()
    watch = api.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r"))
    await watch.read()
    samples = api.plane.metrics.registry
    method = {"method": "RunService/WatchRun"}
    assert samples.get_sample_value("tailrace_rpc_open_streams", method) == 1
    watch.cancel()
    for _ in range(100):
        if samples.get_sample_value("tailrace_rpc_open_streams", method) == 0:
            break
        await asyncio.sleep(0.05)
    assert samples.get_sample_value("tailrace_rpc_stream_seconds_count", method) == 1
    assert samples.get_sample_value("tailrace_rpc_seconds_count", method) is None
    create = {"method": "RunService/CreateRun"}
    assert samples.get_sample_value("tailrace_rpc_seconds_count", create) == 1


async def test_a_taken_metrics_port_names_its_setting(
    api: ApiClient, sqlite_url: str, tmp_path: Path
) -> None:
    port = api.plane.metrics_port
    plane = ControlPlane(
        api.plane.settings.model_copy(update={"metrics_port": port, "listen": "127.0.0.1:0"})
    )
    with pytest.raises(OSError, match=rf"TAILRACE_METRICS_PORT: cannot listen on 127.0.0.1:{port}"):
        await plane.start()
    await plane.stop()


@pytest.mark.parametrize(
    ("broker", "status", "part"),
    [
        ("amqp://guest:hunter2@127.0.0.1:{rabbitmq}//", 78, "refuses the login"),
        ("redis://:hunter2@127.0.0.1:{free}/0", 69, "cannot be reached"),
    ],
)
def test_a_broker_that_cannot_be_used_ends_the_start(
    broker: str,
    status: int,
    part: str,
    rabbitmq: RabbitMQ,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")},
        "TAILRACE_BROKER_URL": broker.format(rabbitmq=rabbitmq.port, free=free_port()),
        "TAILRACE_DATABASE_URL": sqlite_url,
        "TAILRACE_DATA_DIR": str(tmp_path),
        "TAILRACE_LISTEN": "127.0.0.1:0",
        "TAILRACE_START_PATIENCE_SECONDS": "0.1",
    }
    argv = [sys.executable, "-m", "services"]
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == status
    assert part in ended.stdout + ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr


async def test_a_drain_ends_streams_with_unavailable(sqlite_url: str, tmp_path: Path) -> None:
    settings = Settings(
        database_url=sqlite_url,
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        data_dir=tmp_path / "data",
        worker_token_file=token_file(),
        listen="127.0.0.1:0",
        publish_timeout_seconds=1,
    )
    plane = ControlPlane(settings)
    api = ApiClient(plane, await plane.start())
    await api.datasets.SeedDataset(dataset_pb2.SeedDatasetRequest(dataset_id="golden-v2"))
    await api.create()
    watcher = api.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r"))
    await watcher.read()
    events = api.stages.PublishEvents()
    follower = api.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r", follow=True))
    ends = [asyncio.ensure_future(stream.read()) for stream in (watcher, events, follower)]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(plane.stop(), 6)
    for end in ends:
        assert (await failing(end, grpc.StatusCode.UNAVAILABLE))[0] == "DRAINING"
    await api.channel.close()


async def test_a_taken_port_is_an_error(api: ApiClient, tmp_path: Path, sqlite_url: str) -> None:
    settings = api.plane.settings.model_copy(update={"listen": api.plane.address})
    second = ControlPlane(settings)
    with pytest.raises(OSError, match="cannot listen"):
        await second.start()
    await second.stop()


async def test_the_program_starts_says_where_and_ends_on_sigterm(
    sqlite_url: str, valkey_url: str, tmp_path: Path
) -> None:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")},
        "TAILRACE_DATABASE_URL": sqlite_url,
        "TAILRACE_DATA_DIR": str(tmp_path / "data"),
        "TAILRACE_BROKER_URL": valkey_url,
        "TAILRACE_LISTEN": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", env=env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    record = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert record["event"] == "listening"
    assert record["address"].startswith("127.0.0.1:")
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0
    token = tmp_path / "data/worker-token"
    token.chmod(0o644)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", env=env, stderr=asyncio.subprocess.PIPE
    )
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 78
    assert f"chmod 600 {token}" in err.decode()
    wrong = {**env, "TAILRACE_LISTEN": "nowhere", "TAILRACE_LEASE_SECONDS": "-1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", env=wrong, stderr=asyncio.subprocess.PIPE
    )
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 78
    assert b"TAILRACE_LISTEN: " in err
    assert b"TAILRACE_LEASE_SECONDS: " in err


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("DATABASE_URL", "postgres://u:hunter2@h:port/d", "has a port that is not a number"),
        ("BROKER_URL", "http://u:hunter2@h", "has the scheme 'http'"),
        ("MAX_RUNS_PER_LABEL", "team=3", "is not JSON"),
    ],
)
def test_a_wrong_setting_is_one_line_without_its_value(
    setting: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv(f"TAILRACE_{setting}", value)
    assert main() == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"TAILRACE_{setting}: {problem}")
    assert "hunter2" not in line


def test_an_older_server_says_so_and_changes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_path(sqlite_url))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    env = os.environ | {
        "TAILRACE_DATABASE_URL": sqlite_url,
        "TAILRACE_DATA_DIR": str(tmp_path),
        "TAILRACE_LISTEN": "127.0.0.1:0",
    }
    command = [sys.executable, "-m", "services"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 78
    (line,) = ended.stderr.splitlines()
    assert "the database has the schema 9999 of a newer Tailrace" in line


NO_TLS, NO_TOKENS = "this address has no TLS", "clients are not authenticated"


@pytest.mark.parametrize(
    ("host", "settings", "waived"),
    [
        ("127.0.0.1", {}, ()),
        ("localhost", {}, ()),
        ("[::1]", {}, ()),
        ("0.0.0.0", {"insecure": True}, (NO_TLS, NO_TOKENS)),  # noqa: S104
        ("0.0.0.0", {"plaintext_behind_proxy": True}, (NO_TLS,)),  # noqa: S104
    ],
)
async def test_what_is_waived_is_logged_at_every_start_and_shown_by_health(
    host: str, settings: Any, waived: tuple[str, ...], sqlite_url: str, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as entries:
        async with serving(
            sqlite_url, tmp_path / "data", seed=False, listen=f"{host}:0", **settings
        ) as api:
            health: Any = health_pb2_grpc.HealthStub(api.channel)
            statuses = [
                (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
                for name in ("tailrace.tls", "tailrace.authentication")
            ]
    logged = [text for text in (NO_TLS, NO_TOKENS) if any(text in e["event"] for e in entries)]
    assert tuple(logged) == waived
    serving_now = health_pb2.HealthCheckResponse.SERVING
    has_tokens = host.startswith("0") and NO_TOKENS not in waived
    assert [status == serving_now for status in statuses] == [False, has_tokens]
