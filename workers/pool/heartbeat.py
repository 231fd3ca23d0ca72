"""Heartbeat of the worker: a thread that registers it and keeps it and its leases alive."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from tailrace.channel import connect
from tailrace.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TailraceError,
    Unauthenticated,
)
from tailrace.formats import faults
from tailrace.formats.catalog import stage_versions_text
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.formats.faults import Moment
from tailrace.v1 import stage_pb2, worker_pb2
from tailrace.worker_token import WorkerToken
from workers.accelerators import Accelerator, Slot
from workers.attempt.outcome import pool_process_lost
from workers.backoff import Backoff
from workers.broker_link import BrokerLink
from workers.judges import foreign_judges
from workers.pool.parent_socket import Orphan, ParentSocket
from workers.settings import Settings
from workers.stage_client import LeaseLostError, StageClient, is_transient
from workers.task_events import lost_event

_log = structlog.get_logger(__name__)

_ACCELERATORS = {
    Accelerator.CPU: worker_pb2.ACCELERATOR_TYPE_CPU,
    Accelerator.GPU: worker_pb2.ACCELERATOR_TYPE_GPU,
    Accelerator.TPU: worker_pb2.ACCELERATOR_TYPE_TPU,
}


_CLOSE_SECONDS = 2.0
"""Time that the end of the process waits for a call in progress."""


class Heartbeat:
    """Heartbeat thread, with the only gRPC channel of the parent process."""

    def __init__(
        self,
        settings: Settings,
        instance_id: str,
        slots: Sequence[Slot],
        parent_socket: ParentSocket,
        link: BrokerLink,
        on_stop: Callable[[], None],
    ) -> None:
        """Start to register the worker.

        Args:
            settings: Settings with the worker's name, its pools and the control plane.
            instance_id: Secret to which the control plane binds the worker's name.
            slots: Slots of the worker.
            parent_socket: Source of the leases and recipient of their directives.
            link: State of the broker connection.
            on_stop: Callback, once and in the thread, when the worker must finish its running
                stages and accept no more: an operator drained it, or this thread cannot continue.

        Raises:
            WorkerTokenError: There is no valid worker token.
            AccessError: The token would travel in plaintext to another machine.
            TlsFilesError: The TLS files cannot be used.
        """
        self._settings = settings
        self._token = WorkerToken(settings.worker_token_file)
        self._channel = connect(settings.server, settings.access(self._token))
        self._instance_id = instance_id
        self._hostname = socket.gethostname()
        self._slots = slots
        self._parent_socket = parent_socket
        self._link = link
        self._news = threading.Event()
        link.on_change = parent_socket.on_orphan = self._news.set
        self._on_stop: Callable[[], None] | None = on_stop
        self._stop = threading.Event()
        self._decided = threading.Event()
        self._registered = False
        self._secret = ""
        self._orphans: list[Orphan] = []
        self._interval = 0.0
        self._lease = 0.0
        self._answered: float | None = None
        self.refusal: TailraceError | None = None
        """Error with which the control plane refused this worker; ``None`` until then."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def wait_for_decision(self, timeout: float) -> bool:
        """Wait until the worker is admitted or refused; return False after ``timeout`` seconds.

        A worker that an operator has drained is neither until it is undrained.
        """
        return self._decided.wait(timeout)

    def close(self) -> None:
        """Stop; the control plane will then mark the worker offline."""
        self._stop.set()
        self._news.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._loop()
        finally:
            # However this thread ends, even by a fault: without heartbeats all leases expire.
            self._tell_to_stop()

    def _loop(self) -> None:
        with self._channel as channel:
            stage_client = StageClient(channel, self._token)
            backoff = Backoff(self._stop)
            while not self._stop.is_set():
                try:
                    if not self._registered:
                        self._register(stage_client)
                    self._report_orphans(stage_client)
                    self._beat(stage_client)
                    self._answered = time.monotonic()
                    backoff.reset()
                    # A change of the broker connection, or an orphan, is reported at once.
                    self._news.wait(self._interval)
                    self._news.clear()
                except (NotFound, PermissionDenied) as error:
                    if error.reason == "WORKER_BINDING":
                        self._refuse(error)
                        return
                    # The database was restored from a backup, the worker was forgotten, or another
                    # one took its name: register again, which may be refused.
                    self._registered = False
                    backoff.wait()
                except (FailedPrecondition, InvalidArgument) as error:
                    self._refuse(error)
                    return
                except TailraceError as error:
                    if isinstance(error, Unauthenticated) and not self._token_may_follow():
                        self._refuse(error)
                        return
                    _log.warning("no heartbeat", server=self._settings.server, error=str(error))
                    backoff.wait()
            self._say_goodbye(stage_client)

    def _refuse(self, error: TailraceError) -> None:
        self.refusal = error
        self._decided.set()

    def _token_may_follow(self) -> bool:
        """Return True if a refused token may be in the process of being replaced.

        The control plane accepted the token within the lease duration: the new one may reach the
        worker's file a moment later.
        """
        return self._answered is not None and time.monotonic() - self._answered < self._lease

    def _register(self, stage_client: StageClient) -> None:
        answer = stage_client.register(
            stage_pb2.RegisterWorkerRequest(
                worker_id=self._settings.worker_name,
                hostname=self._hostname,
                pools=self._settings.pools,
                slots=[_slot_message(slot) for slot in self._slots],
                versions=_versions(),
                judges=foreign_judges(),
                protocol_version=PROTOCOL_VERSION,
                instance_id=self._instance_id,
                # A worker that registers again keeps its running stages.
                new_process=not self._secret,
            )
        )
        self._secret = answer.worker_secret
        self._parent_socket.set_secret(self._secret)
        self._registered = True
        self._interval = answer.heartbeat_interval.ToTimedelta().total_seconds()
        self._lease = answer.lease_duration.ToTimedelta().total_seconds()
        _log.info(
            "registered",
            worker=answer.name,
            pools=list(self._settings.pools),
            slots=[slot.id for slot in self._slots],
            heartbeat_seconds=self._interval,
        )
        if answer.worker_directive == stage_pb2.DIRECTIVE_DRAIN and not self._decided.is_set():
            _log.warning(
                "an operator has drained this worker: it waits for `tailrace workers undrain`",
                worker=answer.name,
            )

    def _beat(self, stage_client: StageClient) -> None:
        leases = self._parent_socket.leases()
        if leases:
            faults.before(Moment.HEARTBEAT)
        answer = stage_client.heartbeat(
            stage_pb2.WorkerHeartbeatRequest(
                worker=self._settings.resource_name,
                lease_tokens=leases,
                # A stopping worker accepts no more stages, even if the operator's drain has ended.
                draining=self._parent_socket.draining or self._on_stop is None,
                quarantine=self._parent_socket.quarantine(),
                broker_error=self._link.problem,
                worker_secret=self._secret,
            )
        )
        if leases:
            faults.after(Moment.HEARTBEAT)
        for lease, directive in zip(leases, answer.lease_directives, strict=True):
            if directive != stage_pb2.DIRECTIVE_CONTINUE:
                self._parent_socket.direct(lease, directive)
        if answer.worker_directive != stage_pb2.DIRECTIVE_DRAIN:
            self._decided.set()
        elif self._decided.is_set():
            self._tell_to_stop()

    def _report_orphans(self, stage_client: StageClient) -> None:
        """Fail the attempts whose pool process is gone; keep those whose report is not answered.

        Raises:
            TailraceError: The control plane is absent.
        """
        self._orphans += self._parent_socket.take_orphans()
        while self._orphans:
            orphan = self._orphans[0]
            error = pool_process_lost(orphan.slot, orphan.exit_status())
            request = stage_pb2.FailStageRequest(lease_token=orphan.lease, error=error)
            try:
                stage_client.fail_once(request)
                if orphan.started is not None:
                    self._parent_socket.send_event(lost_event(orphan.started, error.reason))
                _log.error("an attempt failed with its pool process", error=error.message)
            except LeaseLostError:
                pass  # it had already reported
            except TailraceError as refusal:
                if is_transient(refusal):
                    raise
                _log.error("the control plane refused the report", error=str(refusal))
            del self._orphans[0]

    def _say_goodbye(self, stage_client: StageClient) -> None:
        """Tell the control plane that the worker is gone, unless it still holds leases."""
        if not self._registered or self._parent_socket.leases():
            return
        goodbye = stage_pb2.WorkerHeartbeatRequest(
            worker=self._settings.resource_name, worker_secret=self._secret, ended=True
        )
        try:
            stage_client.heartbeat(goodbye)
        except TailraceError as error:
            _log.info("no goodbye", error=str(error))

    def _tell_to_stop(self) -> None:
        if self._on_stop is not None and not self._stop.is_set():
            on_stop, self._on_stop = self._on_stop, None
            on_stop()


def _slot_message(slot: Slot) -> worker_pb2.Slot:
    return worker_pb2.Slot(
        id=slot.id,
        accelerator=_ACCELERATORS[slot.accelerator],
        devices=slot.devices,
        cores=slot.cores,
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "stages": stage_versions_text()}
    for name in ("tailrace", "jax", "jaxlib", "celery"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a worker that only judges need not have jax
    return versions
