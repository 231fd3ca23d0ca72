"""Workers and pools."""

from __future__ import annotations

import dataclasses

from services.api.convert.shorten import shorten
from services.api.convert.values import enum_to_proto, plain, text, timestamp
from services.domain.worker import worker_name
from services.usecases.fleet.register import RegisterWorker
from services.usecases.fleet.workers import PoolView, WorkerView
from tailrace.formats.limits import MAX_QUARANTINE_REASON
from tailrace.protomap import from_stored
from tailrace.v1 import stage_pb2, worker_pb2


def worker_to_proto(view: WorkerView) -> worker_pb2.Worker:
    """Return the message of a worker."""
    worker = view.worker
    slots = [from_stored(worker_pb2.Slot, slot) for slot in worker.slots]
    for slot in slots:
        slot.stage = view.occupied.get(slot.id, "")
    message = worker_pb2.Worker(
        name=worker_name(worker.worker_id),
        state=enum_to_proto(worker_pb2.WorkerState, worker.state),
        hostname=worker.hostname,
        pools=worker.pools,
        slots=slots,
        versions=worker.versions,
        judges=worker.judges,
        protocol_version=worker.protocol_version,
        register_time=timestamp(worker.register_time),
        heartbeat_time=timestamp(worker.heartbeat_time),
        broker_error=worker.broker_error,
        drained=worker.drained,
    )
    return shorten(message)


def pools_to_proto(pools: list[PoolView]) -> worker_pb2.ListPoolsResponse:
    """Return the message of all pools."""
    messages = [worker_pb2.Pool(**dataclasses.asdict(pool)) for pool in pools]
    return shorten(worker_pb2.ListPoolsResponse(pools=messages))


def register_from_proto(request: stage_pb2.RegisterWorkerRequest) -> RegisterWorker:
    """Return a worker's registration, its texts cleaned."""
    slots = [plain(slot, f"slots[{i}]") for i, slot in enumerate(request.slots)]
    for slot in slots:
        slot.pop("stage", None)
        if "quarantine" in slot:
            slot["quarantine"] = slot["quarantine"][:MAX_QUARANTINE_REASON]
    return RegisterWorker(
        worker_id=request.worker_id,
        hostname=text(request.hostname),
        pools=list(request.pools),
        slots=slots,
        versions={text(name): text(value) for name, value in request.versions.items()},
        judges={text(name): text(version) for name, version in request.judges.items()},
        protocol_version=request.protocol_version,
        instance_id=request.instance_id,
        new_process=request.new_process,
    )
