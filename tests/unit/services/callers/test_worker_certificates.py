"""Credentials of workers: each counts for one name, its pools and its leases, until revoked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from services.callers import worker_certificates
from services.domain.access.token import ALL_PROJECTS
from services.domain.caller import Caller
from services.domain.scope import Scope
from services.storage.engine.columns import utc_now
from services.storage.rows.access import certificates as store
from services.usecases.access.tokens import NewToken, store_token
from tailrace import AsyncClient
from tailrace.access import Access
from tailrace.channel import connect_aio
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.tls_files import TlsFiles
from tailrace.v1 import run_pb2, run_pb2_grpc, stage_pb2, stage_pb2_grpc, worker_pb2
from tests.servers.certificates import write_tls
from tests.servers.worker_token import worker_token
from tests.unit.services.api_client import failing, serving

LOOK_SECONDS = worker_certificates.LOOK_SECONDS
DENIED = grpc.StatusCode.PERMISSION_DENIED


def registration(name: str = "w1", *pools: str) -> stage_pb2.RegisterWorkerRequest:
    slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
    return stage_pb2.RegisterWorkerRequest(
        worker_id=name,
        hostname="host",
        pools=pools or ["cpu"],
        slots=[slot],
        protocol_version=PROTOCOL_VERSION,
        instance_id=f"the-instance-of-{name}",
    )


class Plane:
    """A control plane with a listener for workers, and its callers."""

    def __init__(self, api: Any, files: TlsFiles, folder: Path) -> None:
        self.plane = api.plane
        self._ca, self._folder = files.ca, folder

    def admin(self) -> AsyncClient:
        return AsyncClient(self.plane.address, access=Access(tls=TlsFiles(self._ca)))

    @contextlib.asynccontextmanager
    async def worker(
        self, name: str = "w1", *pools: str, token: str = "", days: int = 30
    ) -> AsyncIterator[Any]:
        """StageService with a worker's certificate, and a token of its own or the shared one."""
        files = write_tls(self._folder / f"{name}-{days}", name, (), days=days, pools=pools)
        access = Access(tls=files, token=lambda: token or worker_token().value)
        async with connect_aio(self.plane.worker_address, access) as channel:
            stub: Any = stage_pb2_grpc.StageServiceStub(channel)
            stub.channel = channel
            yield stub

    async def token(self, name: str, *pools: str) -> str:
        new = NewToken(scopes=[Scope.WORKER], worker_id=name, pools=pools)
        database = self.plane.context.database
        _token, text = await store_token(database, Caller(), new, ALL_PROJECTS)
        return text


@pytest.fixture
async def plane(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Plane]:
    monkeypatch.setattr(worker_certificates, "LOOK_SECONDS", 0.1)
    files = write_tls(tmp_path / "tls", "server")
    settings = {
        "worker_bind": "127.0.0.1:0",
        "worker_ca_file": files.ca,
        "tls_cert_file": files.certificate,
        "tls_key_file": files.key,
    }
    async with serving(sqlite_url, tmp_path / "data", seed=False, **settings) as api:
        yield Plane(api, files, tmp_path)


async def binding_refusal(call: Any) -> str:
    reason, _ = await failing(call, DENIED)
    return reason


async def test_a_certificate_admits_its_own_worker_and_pools(plane: Plane) -> None:
    async with plane.worker("w1", "cpu", "gpu") as stages:
        assert (await stages.RegisterWorker(registration("w1", "gpu"))).worker_secret
        for request in (registration("w2"), registration("w1", "gpu", "tpu")):
            assert await binding_refusal(stages.RegisterWorker(request)) == "WORKER_BINDING"
        for method, message in (
            (stages.WorkerHeartbeat, stage_pb2.WorkerHeartbeatRequest(worker="workers/w2")),
            (stages.AcquireStage, stage_pb2.AcquireStageRequest(worker="workers/w2")),
        ):
            assert await binding_refusal(method(message)) == "WORKER_BINDING"
    async with plane.worker("Not A Name") as stages:
        reason, _ = await failing(
            stages.RegisterWorker(registration()), grpc.StatusCode.UNAUTHENTICATED
        )
        assert reason == "WORKER_CERTIFICATE"


async def test_a_token_counts_for_its_worker_and_pools_beside_the_certificate(
    plane: Plane,
) -> None:
    text = await plane.token("w1", "cpu")
    async with plane.worker("w1", "cpu", "gpu", token=text) as stages:
        assert (await stages.RegisterWorker(registration("w1", "cpu"))).worker_secret
        request = registration("w1", "gpu")
        assert await binding_refusal(stages.RegisterWorker(request)) == "WORKER_BINDING"
    async with plane.worker("w2", token=text) as stages:
        for name in ("w1", "w2"):
            call = stages.RegisterWorker(registration(name))
            assert await binding_refusal(call) == "WORKER_BINDING"


async def test_a_worker_acts_on_its_own_leases_alone(plane: Plane) -> None:
    async with plane.admin() as admin:
        await admin.seed_dataset("golden-v2")
        model = {"preset": "gpt2-nano"}
        run = await admin.create_run(
            {"dataset": "golden-v2", "model": model, "train": {"max_steps": 1}}
        )
    async with plane.worker("w1") as own, plane.worker("w2") as other:
        secret = (await own.RegisterWorker(registration())).worker_secret
        await other.RegisterWorker(registration("w2"))
        answer = await own.AcquireStage(
            stage_pb2.AcquireStageRequest(
                run_uid=run.uid,
                stage="train",
                attempt=1,
                acquire_id="acquire-id-0123456789",
                worker="workers/w1",
                slot="cpu-0",
                worker_secret=secret,
            )
        )
        lease = answer.run.lease_token
        failure = stage_pb2.FailStageRequest(lease_token=lease)
        assert await binding_refusal(other.FailStage(failure)) == "WORKER_BINDING"
        confirmation = stage_pb2.ConfirmDispatchRequest(task_id=f"{run.uid}.infer.1")
        assert await binding_refusal(other.ConfirmDispatch(confirmation)) == "WORKER_BINDING"
        await own.ConfirmDispatch(confirmation)
        predictions = run_pb2.ListPredictionsRequest(parent=f"runs/{run.uid}")
        metadata = (("tailrace-lease", lease),)
        read = run_pb2_grpc.RunServiceStub(other.channel).ListPredictions
        assert await binding_refusal(read(predictions, metadata=metadata)) == "WORKER_BINDING"
        await run_pb2_grpc.RunServiceStub(own.channel).ListPredictions(
            predictions, metadata=metadata
        )


async def test_a_revocation_ends_calls_and_streams_and_spares_a_newer_certificate(
    plane: Plane,
) -> None:
    assert LOOK_SECONDS * 2 < 10
    async with plane.admin() as admin, plane.worker("w1") as stages, plane.worker("w2") as other:
        publish, kept = stages.PublishEvents(), other.PublishEvents()
        reads = [asyncio.ensure_future(stream.read()) for stream in (publish, kept)]
        await stages.RegisterWorker(registration())
        revoked = await admin.revoke_worker_certificate("w1")
        began = time.monotonic()
        assert revoked.revoke_time.seconds
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED
        assert (await failing(reads[0], unauthenticated))[0] == "CERTIFICATE_REVOKED"
        call = stages.RegisterWorker(registration())
        assert (await failing(call, unauthenticated))[0] == "CERTIFICATE_REVOKED"
        assert time.monotonic() - began < 10
        assert not reads[1].done()
        reads[1].cancel()
        async with plane.plane.context.database.write() as conn:
            await store.revoke(conn, "w1", utc_now() - timedelta(hours=1))
        await plane.plane._worker_certificates.load()
        await stages.RegisterWorker(registration())


async def test_the_expiry_of_workers_certificates_is_a_metric_and_is_warned_of(
    plane: Plane,
) -> None:
    with structlog.testing.capture_logs() as entries:
        for name, days in (("late", 13), ("fresh", 15)):
            async with plane.worker(name, days=days) as stages:
                for _ in range(2):
                    await stages.RegisterWorker(registration(name))
    samples = plane.plane.metrics.worker_certificate_expiry.collect()[0].samples
    expiries = {sample.labels["worker"]: sample.value - time.time() for sample in samples}
    assert expiries["late"] == pytest.approx(13 * 86_400, abs=600)
    assert expiries["fresh"] == pytest.approx(15 * 86_400, abs=600)
    warnings = [e["worker"] for e in entries if "expires soon" in e["event"]]
    assert warnings == ["late"]
