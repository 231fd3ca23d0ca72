"""Certificates of the listeners: taken up while the server runs, or not at all."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services import certificates
from services.certificates import Certificates
from services.metrics import Metrics
from services.settings import Settings
from tailrace import AsyncClient, errors
from tailrace.access import Access
from tailrace.channel import connect_aio
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.retry import RetryPolicy
from tailrace.tls_files import TlsFiles, TlsFilesError
from tailrace.v1 import run_pb2, run_pb2_grpc, stage_pb2, stage_pb2_grpc, worker_pb2
from tests.servers.certificates import pair, replace_pair, write_tls
from tests.servers.worker_token import worker_token
from tests.unit.services.api_client import failing, serving


@asynccontextmanager
async def tls_plane(
    sqlite_url: str, folder: Path, *, mutual: bool = False, **settings: Any
) -> AsyncIterator[Any]:
    files = write_tls(folder / "tls", "server")
    if mutual:
        settings |= {"worker_bind": "127.0.0.1:0", "worker_ca_file": files.ca}
    settings |= {"tls_cert_file": files.certificate, "tls_key_file": files.key}
    async with serving(sqlite_url, folder / "data", seed=False, **settings) as api:
        yield api.plane, files


async def presented_name(address: str, files: TlsFiles) -> str:
    """The name in the certificate that a new connection gets."""
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    subject = writer.get_extra_info("peercert")["subject"]
    writer.close()
    return str(dict(field[0] for field in subject)["commonName"])


async def test_clients_and_health_checks_speak_tls(sqlite_url: str, tmp_path: Path) -> None:
    async with tls_plane(sqlite_url, tmp_path) as (plane, files):
        access = Access(tls=TlsFiles(files.ca))
        async with AsyncClient(plane.address, access=access) as client:
            assert [run async for run in client.list_runs()] == []
        async with connect_aio(plane.address, access) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            status = (await stub.Check(health_pb2.HealthCheckRequest())).status
        assert status == health_pb2.HealthCheckResponse.SERVING
        plain = AsyncClient(plane.address, access=Access(), retry=RetryPolicy(attempts=1))
        async with plain as client:
            with pytest.raises(errors.Unavailable, match="it may expect TLS"):
                await client.list_pools()


async def test_certificates_are_replaced_under_load(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.02)
    async with tls_plane(sqlite_url, tmp_path) as (plane, files):
        access = Access(tls=TlsFiles(files.ca))
        done = asyncio.Event()
        calls = 0

        async def load() -> None:
            nonlocal calls
            once = RetryPolicy(attempts=1)
            while not done.is_set():
                # Each client makes a handshake of its own.
                async with AsyncClient(plane.address, access=access, retry=once) as client:
                    await client.list_pools()
                calls += 1

        async with connect_aio(plane.address, access) as channel:
            stub: Any = run_pb2_grpc.RunServiceStub(channel)
            tasks = [asyncio.create_task(load()) for _ in range(4)]
            for number in range(10):
                replace_pair(files, pair(f"server-{number}"))
                before = calls
                while calls < before + 8:
                    await asyncio.sleep(0.01)
                    for task in tasks:
                        assert not task.done(), task.exception()
                # A connection from the beginning goes on.
                await stub.ListRuns(run_pb2.ListRunsRequest())
            done.set()
            await asyncio.gather(*tasks)
        assert await presented_name(plane.address, files) == "server-9"


async def test_broken_and_expired_files_leave_the_old_pair_in_use(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.01)
    async with tls_plane(sqlite_url, tmp_path) as (plane, files):
        whole = pair("next")
        with structlog.testing.capture_logs() as entries:
            for content in (
                (whole[0], pair("other")[1]),
                (whole[0][:200], whole[1]),
                (whole[0], b""),
                pair("next", days=0),
            ):
                replace_pair(files, content)
                await asyncio.sleep(0.1)
                assert await presented_name(plane.address, files) == "server"
        refused = [e for e in entries if e["event"] == "the changed certificate is not used"]
        assert len(refused) >= 4
        assert "has expired on" in refused[-1]["error"]
        replace_pair(files, whole)
        await asyncio.sleep(0.1)
        assert await presented_name(plane.address, files) == "next"


def test_a_server_does_not_start_with_an_expired_certificate(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "server", days=0)
    with pytest.raises(TlsFilesError, match=r"server.crt has expired on 20\d\d-"):
        Certificates("clients", TlsFiles(None, files.certificate, files.key), Metrics())


@pytest.mark.parametrize(("days", "warned"), [(13, True), (15, False)])
async def test_the_expiry_is_a_metric_and_is_warned_of(
    days: int, warned: bool, sqlite_url: str, tmp_path: Path
) -> None:
    files = write_tls(tmp_path / "tls", "server", days=days)
    settings = {"tls_cert_file": files.certificate, "tls_key_file": files.key}
    with structlog.testing.capture_logs() as entries:
        async with serving(sqlite_url, tmp_path / "data", seed=False, **settings) as api:
            await asyncio.sleep(0.1)
            (sample,) = api.plane.metrics.certificate_expiry.collect()[0].samples
    assert sample.labels == {"listener": "clients"}
    assert sample.value == pytest.approx(time.time() + days * 86_400, abs=600)
    assert any(e["event"] == "a certificate expires soon" for e in entries) == warned


def registration() -> stage_pb2.RegisterWorkerRequest:
    slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
    return stage_pb2.RegisterWorkerRequest(
        worker_id="w1",
        hostname="host",
        pools=["cpu"],
        slots=[slot],
        protocol_version=PROTOCOL_VERSION,
        instance_id="the-instance-of-w1",
    )


async def test_workers_have_a_listener_that_asks_for_a_certificate(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with tls_plane(sqlite_url, tmp_path, mutual=True) as (plane, files):
        worker = write_tls(tmp_path / "worker", "w1", ())
        access = Access(tls=worker, token=lambda: worker_token().value)
        async with connect_aio(plane.worker_address, access) as channel:
            stages: Any = stage_pb2_grpc.StageServiceStub(channel)
            assert (await stages.RegisterWorker(registration())).worker_secret
        async with connect_aio(plane.worker_address, Access(tls=worker)) as channel:
            stages = stage_pb2_grpc.StageServiceStub(channel)
            call = stages.RegisterWorker(registration())
            assert (await failing(call, grpc.StatusCode.UNAUTHENTICATED))[0] == "WORKER_TOKEN"
        # Without a certificate, or with a foreign one, nothing is answered at all.
        foreign = write_tls(tmp_path / "foreign", "w1", (), ca=1)
        for tls in (
            TlsFiles(files.ca),
            TlsFiles(files.ca, foreign.certificate, foreign.key),
        ):
            async with connect_aio(plane.worker_address, Access(tls=tls)) as channel:
                stages = stage_pb2_grpc.StageServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await stages.RegisterWorker(registration(), timeout=5)
                assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        # The other listener asks for no certificate and takes no worker.
        access = Access(tls=TlsFiles(files.ca), token=lambda: worker_token().value)
        async with connect_aio(plane.address, access) as channel:
            stages = stage_pb2_grpc.StageServiceStub(channel)
            call = stages.RegisterWorker(registration())
            assert (await failing(call, grpc.StatusCode.UNAUTHENTICATED))[0] == "WORKER_CERTIFICATE"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"tls_cert_file": "a"}, "must be set together"),
        ({"worker_bind": "127.0.0.1:1"}, "TAILRACE_WORKER_BIND needs TAILRACE_TLS_CERT_FILE"),
        ({"worker_bind": "nowhere"}, "must be host:port"),
    ],
)
def test_settings_that_make_no_listener_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Settings(**settings)
