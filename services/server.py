"""Composition root: creates the adapters, starts and stops the server and the loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.adapters.broker import Broker
from services.api.artifacts import ArtifactServicer
from services.api.audit import AuditServicer
from services.api.baselines import BaselineServicer
from services.api.datasets import DatasetServicer
from services.api.eval_sets import EvalSetServicer
from services.api.models import ModelServicer
from services.api.projects import ProjectServicer
from services.api.quotas import QuotaServicer
from services.api.rpc import Uploads
from services.api.runs import RunServicer
from services.api.sessions import SessionServicer
from services.api.stages import StageServicer
from services.api.tokens import TokenServicer
from services.api.workers import FleetServicer
from services.authentication import Admission, AuthenticationInterceptor
from services.call_quotas import CallQuotas
from services.callers.projects import Projects
from services.callers.refusals import Refusals
from services.callers.tokens import Tokens
from services.callers.watched_calls import CallWatch
from services.callers.worker_certificates import WorkerCertificates
from services.health import AUTHENTICATION, BROKER, DATABASE, TLS, HealthMonitor
from services.interceptors import CallInterceptor
from services.listener import Listener
from services.loops.audit_chain import AuditChainer
from services.loops.reconciler import Reconciler
from services.loops.relay import Relay
from services.loops.sweeper import Sweeper
from services.metrics import Metrics
from services.oidc.configuration import OidcConfiguration
from services.oidc.configuration import load as load_oidc
from services.oidc.verifier import Verifier
from services.reflection import add_reflection
from services.settings import Settings
from services.storage.blobs.folder import FolderBlobStores
from services.storage.engine.database import Database
from services.storage.engine.migrate import migrate_database
from services.usecases.context import Context
from services.usecases.runs.lifecycle import require_lease
from tailrace.access import is_loopback
from tailrace.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    baseline_pb2,
    baseline_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    evalset_pb2,
    evalset_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    project_pb2,
    project_pb2_grpc,
    quota_pb2,
    quota_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    stage_pb2,
    stage_pb2_grpc,
    token_pb2,
    token_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from tailrace.worker_token import WorkerToken, make

_log = structlog.get_logger(__name__)

SERVICES = tuple(
    service.full_name
    for file in (
        artifact_pb2,
        audit_pb2,
        baseline_pb2,
        dataset_pb2,
        evalset_pb2,
        model_pb2,
        project_pb2,
        quota_pb2,
        run_pb2,
        session_pb2,
        stage_pb2,
        token_pb2,
        worker_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""Full names of the API's services."""


class ControlPlane:
    """Control plane; several may share a database and a broker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.context = Context(
            settings=settings,
            database=Database(
                settings.database_url,
                pool_size=settings.database_pool_size,
                statement_cache=settings.database_statement_cache,
            ),
            blobs=FolderBlobStores(settings.data_dir, settings.min_free_bytes),
        )
        oidc = load_oidc(settings.oidc_file) if settings.oidc_file is not None else None
        self._oidc = Verifier(oidc) if oidc is not None else None
        self.metrics = Metrics()
        self._broker = Broker(
            settings.broker_url,
            timeout=settings.publish_timeout_seconds,
            files=settings.broker_files,
        )
        # The stubs lack the asyncio flavour.
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._health_monitor = HealthMonitor(self.context, self._broker, self._health, self.metrics)
        self._servicers = _servicers(self.context, oidc)
        self._tokens = Tokens(self.context)
        self._refusals = Refusals(self.context)
        self._projects = Projects(self.context)
        self._quotas = CallQuotas(self.context)
        self._worker_certificates = WorkerCertificates(self.context, self.metrics)
        self._listeners: list[Listener] = []
        self._loops: list[asyncio.Task[None]] = []
        self.address = ""
        """``host:port`` of the gRPC server after the start."""
        self.worker_address = ""
        """``host:port`` of the gRPC server for workers after the start; empty without one."""
        self.metrics_port: int | None = None
        """Port of ``/metrics`` after the start; ``None`` while it is not served."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Future with the exception of a loop that failed; the process should then end."""

    async def start(self, *, require_broker: bool = False) -> str:
        """Migrate, listen and start the loops; return the address as ``host:port``.

        Args:
            require_broker: Wait briefly for the broker, too, as always for the database.

        Raises:
            OSError: An address is taken.
            TlsFilesError: A certificate or key cannot be used.
            Unavailable: The database or the required broker does not answer.
            ValueError: The database or the required broker rejects its settings.
            WorkerTokenError: The token file cannot be used.
        """
        make(self.settings.token_file)
        self._worker_token = WorkerToken(self.settings.token_file)
        await self._health_monitor.require_database()
        await migrate_database(self.context.database)
        await self._quotas.load()
        if require_broker:
            await self._health_monitor.require_broker()
        await self._report_health()
        await self._worker_certificates.load()
        await self._listen()
        if self.settings.metrics_port is not None:
            host = self.settings.listen.rpartition(":")[0].strip("[]")
            self.metrics_port = await self.metrics.serve(
                host,
                self.settings.metrics_port,
                tls=self.settings.metrics_tls,
                token=self.settings.metrics_token_file,
            )
            _log.info("metrics", address=f"{host}:{self.metrics_port}")
        relay = Relay(self.context, self._broker, self.metrics.count_publication)
        reconciler = Reconciler(self.context)
        self._start_loop("relay", relay.run)
        self._start_loop("reconciler", reconciler.run)
        self._start_loop("metrics", lambda: self.metrics.sample(self.context))
        self._start_loop("health", self._health_monitor.run)
        self._start_loop("tokens", self._tokens.run)
        self._start_loop("quotas", self._quotas.run)
        self._start_loop("worker certificates", self._worker_certificates.run)
        self._start_loop("sweeper", Sweeper(self.context).run)
        self._start_loop("refusals", self._refusals.run)
        self._start_loop("audit chain", AuditChainer(self.context).run)
        return self.address

    async def stop(self) -> None:
        """Drain: refuse new work, end streams, let calls finish, then stop the loops."""
        await self._health.enter_graceful_shutdown()
        self.context.shutdown.begin()
        self.context.wakeups.wake_all()
        grace = self.settings.shutdown_grace_seconds
        await asyncio.gather(*(listener.stop(grace) for listener in self._listeners))
        if self._loops:
            _done, late = await asyncio.wait(self._loops, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._oidc is not None:
            await self._oidc.close()
        await self._broker.close()
        await self.metrics.close()
        await self.context.database.close()

    async def _listen(self) -> None:
        settings = self.settings
        if settings.worker_tls is not None and settings.worker_bind is not None:
            workers = Listener("workers", settings.worker_bind, settings.worker_tls, self.metrics)
            self._listeners.append(workers)
            self.worker_address = await workers.start(
                settings, self._interceptors(Admission.WORKERS_ONLY), self._add_services
            )
        clients = Listener("clients", settings.listen, settings.tls, self.metrics)
        self._listeners.append(clients)
        admission = Admission.CLIENTS_ONLY if settings.worker_bind else Admission.ALL
        self.address = await clients.start(
            settings, self._interceptors(admission), self._add_services
        )
        for listener in self._listeners:
            if listener.certificates is not None:
                watch = partial(listener.certificates.run, self.context.shutdown)
                self._start_loop(f"certificates of {listener.name}", watch)
        self._report_waivers()

    def _interceptors(self, admission: Admission) -> list[Any]:
        is_for_workers = admission is Admission.WORKERS_ONLY
        watch = CallWatch(
            self._tokens,
            self.settings.max_stream_seconds,
            self._worker_certificates if is_for_workers else None,
        )
        # Authentication first: the body of a refused call must not be read.
        return [
            AuthenticationInterceptor(
                self._worker_token,
                self._tokens,
                self._projects,
                self._quotas,
                self.metrics,
                self._refusals,
                admission,
                self._oidc,
                tokens_required=self.settings.tokens_required,
            ),
            CallInterceptor(
                self.metrics,
                watch,
                self._quotas,
                self._refusals,
                partial(require_lease, self.context),
            ),
        ]

    def _add_services(self, server: grpc.aio.Server) -> None:
        for add, servicer in self._servicers:
            add(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_reflection((*SERVICES, health.SERVICE_NAME), server)

    def _report_waivers(self) -> None:
        """Log, at every start, what protection is switched off beyond this machine."""
        settings = self.settings
        if is_loopback(settings.listen):
            return
        if settings.tls is None:
            _log.warning(
                "this address has no TLS: tokens and content can be read and changed on the way; "
                "let only a proxy with TLS, or a protected network, reach it",
                listen=settings.listen,
            )
        if not settings.tokens_required:
            _log.warning(
                "clients are not authenticated: any client that reaches this address can start "
                "runs, read and upload content; restrict access by a firewall or a proxy",
                listen=settings.listen,
            )

    async def _report_health(self) -> None:
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        for name in (BROKER, DATABASE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        protections = {TLS: self.settings.tls, AUTHENTICATION: self.settings.tokens_required}
        statuses = health_pb2.HealthCheckResponse
        for name, protection in protections.items():
            is_on = statuses.SERVING if protection else statuses.NOT_SERVING
            await self._health.set(name, is_on)

    def _start_loop(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await loop()

        task = asyncio.create_task(run(), name=name)
        task.add_done_callback(self._loop_ended)
        self._loops.append(task)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("loop failed", loop=task.get_name(), exc_info=error)
            if not self.failed.done():
                self.failed.set_exception(error)


def _servicers(
    context: Context, oidc: OidcConfiguration | None
) -> list[tuple[Callable[[Any, Any], None], Any]]:
    """Return each servicer with the function that adds it to a server."""
    uploads = Uploads(context.settings)
    return [
        (run_pb2_grpc.add_RunServiceServicer_to_server, RunServicer(context)),
        (stage_pb2_grpc.add_StageServiceServicer_to_server, StageServicer(context)),
        (worker_pb2_grpc.add_FleetServiceServicer_to_server, FleetServicer(context)),
        (
            artifact_pb2_grpc.add_ArtifactServiceServicer_to_server,
            ArtifactServicer(context, uploads),
        ),
        (dataset_pb2_grpc.add_DatasetServiceServicer_to_server, DatasetServicer(context, uploads)),
        (evalset_pb2_grpc.add_EvalSetServiceServicer_to_server, EvalSetServicer(context, uploads)),
        (model_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(context)),
        (baseline_pb2_grpc.add_BaselineServiceServicer_to_server, BaselineServicer(context)),
        (project_pb2_grpc.add_ProjectServiceServicer_to_server, ProjectServicer(context)),
        (quota_pb2_grpc.add_QuotaServiceServicer_to_server, QuotaServicer(context)),
        (token_pb2_grpc.add_TokenServiceServicer_to_server, TokenServicer(context)),
        (
            session_pb2_grpc.add_SessionServiceServicer_to_server,
            SessionServicer(context, oidc),
        ),
        (audit_pb2_grpc.add_AuditServiceServicer_to_server, AuditServicer(context)),
    ]
