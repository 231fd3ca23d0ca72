"""The worker program: registers with the control plane, then serves its pools until a signal.

SIGTERM drains the worker: running stages save a checkpoint and are handed back within seconds. The
exit status is 0 after a drain, and otherwise one of sysexits.h.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import structlog
from celery import signals
from celery.apps import worker as celery_worker
from celery.worker import state
from pydantic import ValidationError

from tailrace.access import AccessError
from tailrace.errors import PermissionDenied, Unauthenticated
from tailrace.formats.dispatch import node_name
from tailrace.tls_files import TlsFilesError
from tailrace.undumpable import forbid_reading
from tailrace.worker_token import WorkerTokenError
from workers import logs, remote_control
from workers.accelerators import AcceleratorError, Slot, detect, make_slots, memory_by_slot
from workers.app import make_app, start_semaphore_tracker
from workers.attempt.workspace import Workspace, WorkspaceError
from workers.broker_link import BrokerLink
from workers.instance import Instance
from workers.judges import JudgeKeysError, read_keys
from workers.metrics import WorkerMetrics
from workers.pool.heartbeat import Heartbeat
from workers.pool.parent_socket import ParentSocket
from workers.settings import Settings
from workers.task_events import TaskEvents, TaskEventSender

EXIT_CONFIGURATION = os.EX_CONFIG
"""Exit status for a setting that is wrong or does not fit this host (78)."""

EXIT_REFUSED = os.EX_PROTOCOL
"""Exit status for a worker that the control plane refuses, for its protocol version, say (76)."""

EXIT_NO_ACCESS = os.EX_NOPERM
"""Exit status for a credential that the control plane refuses, or that is another worker's (77)."""

_log = structlog.get_logger(__name__)


def main() -> int:
    """Run a worker and return the process's exit status."""
    forbid_reading()
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"][:1]).upper()
            sys.stderr.write(f"TAILRACE_{name}: {problem['msg']}\n")
        return EXIT_CONFIGURATION
    logs.configure(settings.log_level)
    start_semaphore_tracker(settings.work_dir)
    try:
        read_keys(settings.judge_keys_file)
        slots = make_slots(detect(), settings.accelerator, settings.slots)
        memory = memory_by_slot(slots)
        instance = Instance.claim(settings.work_dir, settings.worker_name)
        settings = settings.model_copy(update={"worker_name": instance.name})
        workspace = Workspace(settings.work_dir, settings.worker_name)
    except (JudgeKeysError, AcceleratorError, WorkspaceError) as error:
        _log.error("cannot start", error=str(error))
        return EXIT_CONFIGURATION
    try:
        return _serve(settings, instance.id, slots, memory, workspace)
    finally:
        workspace.close()
        instance.close()


def _serve(
    settings: Settings,
    instance_id: str,
    slots: list[Slot],
    memory: dict[str, int],
    workspace: Workspace,
) -> int:
    events = TaskEvents()
    parent_socket = ParentSocket(workspace.folder, memory, workspace.clear_slot, events.put)
    link = BrokerLink()
    try:
        _serve_metrics(settings, WorkerMetrics(len(slots), parent_socket, link), events)
        heartbeat = Heartbeat(settings, instance_id, slots, parent_socket, link, _take_no_more)
    except (WorkerTokenError, AccessError, TlsFilesError, OSError) as error:
        parent_socket.close()
        _log.error("cannot start", error=str(error))
        return EXIT_CONFIGURATION
    try:
        if not _wait_for_decision(heartbeat):
            return os.EX_OK
        status = os.EX_OK
        if heartbeat.refusal is None:
            status = _consume(settings, slots, parent_socket, events, link)
        if heartbeat.refusal is not None:
            _log.error("the control plane refuses this worker", error=str(heartbeat.refusal))
            no_access = isinstance(heartbeat.refusal, Unauthenticated | PermissionDenied)
            return EXIT_NO_ACCESS if no_access else EXIT_REFUSED
        return status
    finally:
        heartbeat.close()
        parent_socket.close()


def _serve_metrics(settings: Settings, metrics: WorkerMetrics, events: TaskEvents) -> None:
    """Serve the metrics if the settings name a port.

    Raises:
        OSError: The port is taken.
        ValueError: A file cannot be used.
    """
    if settings.worker_metrics_port is None:
        return
    events.on_event = metrics.count
    host = settings.worker_metrics_host
    port = metrics.serve(
        host,
        settings.worker_metrics_port,
        tls=settings.metrics_tls,
        token=settings.worker_metrics_token_file,
    )
    _log.info("metrics", address=f"{host}:{port}")


def _wait_for_decision(heartbeat: Heartbeat) -> bool:
    """Wait until the worker is admitted or refused; return False if a signal came first."""
    signals_received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda got, _: signals_received.append(got))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        while not heartbeat.wait_for_decision(0.2):
            if signals_received:
                return False
        return not signals_received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _consume(
    settings: Settings,
    slots: list[Slot],
    parent_socket: ParentSocket,
    events: TaskEvents,
    link: BrokerLink,
) -> int:
    """Run Celery's worker in this process until it has shut down; return its exit status."""
    app = make_app(settings, str(parent_socket.path))
    app.steps["consumer"].add(TaskEventSender)
    node = node_name(settings.worker_name)

    def drain(**_: Any) -> None:
        parent_socket.drain()

    signals.worker_shutting_down.connect(drain, weak=False)
    remote_control.restrict()
    worker = app.Worker(
        hostname=node,
        concurrency=len(slots),
        loglevel=settings.log_level.upper(),
        without_gossip=True,
        without_mingle=True,
        quiet=True,
        task_events_queue=events,
        broker_link=link,
    )
    # Pool processes would log in billiard's format until they have configured ours, and Celery
    # would announce its end on standard output.
    os.environ.pop("_MP_FORK_LOGLEVEL_", None)
    celery_worker.safe_say = logs.say
    worker.start()
    events.flush(app, node)
    return int(worker.exitcode or os.EX_OK)


def _take_no_more() -> None:
    """Let Celery finish the running stages and end; SIGTERM would hand them back."""
    state.should_stop = os.EX_OK


if __name__ == "__main__":
    # Celery's signal handlers and its pool need the main thread. gRPC's fork support would only
    # slow down the spawning of stage processes, which execute none of our code between fork and
    # exec.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # Its core would write plain lines about lost connections, which the worker logs itself.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
