"""Servicer of StageService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from services.api.convert.artifact import artifact_to_proto
from services.api.convert.events import batch_from_proto, log_batch_from_proto
from services.api.convert.stage import (
    acquire_from_proto,
    answer_to_proto,
    completion_from_proto,
    decision_to_proto,
    directive_to_proto,
    error_from_proto,
)
from services.api.convert.values import duration, text
from services.api.convert.worker import register_from_proto
from services.api.rpc import Rpc, current_caller
from services.domain.directive import Directive
from services.domain.errors import InvalidInput
from services.domain.worker import parse_worker_name, worker_name
from services.runtime.off_loop import run_off_loop
from services.usecases.context import Context
from services.usecases.fleet.heartbeat import Heartbeat, worker_heartbeat
from services.usecases.fleet.register import register_worker
from services.usecases.runs.watch import draining
from services.usecases.stages.acquire import acquire_stage, confirm_dispatch
from services.usecases.stages.complete import complete_stage
from services.usecases.stages.fail import fail_stage, release_stage
from services.usecases.stages.find_reference import find_reference
from services.usecases.stages.publish import MAX_MESSAGES, Batch, publish_events
from tailrace.v1 import stage_pb2, stage_pb2_grpc


class StageServicer(stage_pb2_grpc.StageServiceServicer):
    """Servicer of ``protos/tailrace/v1/stage.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def RegisterWorker(
        self, request: stage_pb2.RegisterWorkerRequest, context: Rpc
    ) -> stage_pb2.RegisterWorkerResponse:
        """Register a worker."""
        command = await run_off_loop(request.ByteSize(), register_from_proto, request)
        registration = await register_worker(self._context, command)
        settings = self._context.settings
        return stage_pb2.RegisterWorkerResponse(
            name=worker_name(command.worker_id),
            heartbeat_interval=duration(settings.heartbeat_interval),
            lease_duration=duration(settings.lease_seconds),
            worker_secret=registration.secret,
            worker_directive=directive_to_proto(
                Directive.DRAIN if registration.drained else Directive.CONTINUE
            ),
        )

    async def WorkerHeartbeat(
        self, request: stage_pb2.WorkerHeartbeatRequest, context: Rpc
    ) -> stage_pb2.WorkerHeartbeatResponse:
        """Keep a worker and all its leases alive."""
        heartbeat = Heartbeat(
            parse_worker_name(request.worker),
            list(request.lease_tokens),
            draining=request.draining,
            quarantine=request.quarantine,
            broker_error=text(request.broker_error),
            secret=request.worker_secret,
            ended=request.ended,
        )
        leases, worker = await worker_heartbeat(self._context, heartbeat)
        return stage_pb2.WorkerHeartbeatResponse(
            lease_directives=map(directive_to_proto, leases),
            worker_directive=directive_to_proto(worker),
        )

    async def AcquireStage(
        self, request: stage_pb2.AcquireStageRequest, context: Rpc
    ) -> stage_pb2.AcquireStageResponse:
        """Answer a delivery of the broker."""
        command = acquire_from_proto(request)
        return answer_to_proto(
            await acquire_stage(self._context, command), self._context.settings.lease_seconds
        )

    async def PublishEvents(
        self,
        request_iterator: AsyncIterator[stage_pb2.PublishEventsRequest],
        context: Rpc,
    ) -> AsyncIterator[stage_pb2.PublishEventsResponse]:
        """Store events batch by batch and acknowledge what is durable."""
        async for requests in self._gathered(request_iterator):
            async for batch, messages in _joined(requests):
                answer = await publish_events(self._context, batch)
                for _ in range(messages):
                    yield stage_pb2.PublishEventsResponse(
                        acknowledged_sequence=answer.sequence,
                        directive=directive_to_proto(answer.directive),
                    )

    async def FindReference(
        self, request: stage_pb2.FindReferenceRequest, context: Rpc
    ) -> stage_pb2.FindReferenceResponse:
        """Look up log-probabilities by their key."""
        artifact = await find_reference(self._context, request.lease_token, request.key)
        message = None if artifact is None else artifact_to_proto(artifact)
        return stage_pb2.FindReferenceResponse(artifact=message)

    async def ConfirmDispatch(
        self, request: stage_pb2.ConfirmDispatchRequest, context: Rpc
    ) -> stage_pb2.ConfirmDispatchResponse:
        """Record that the worker's chain has published the next stage."""
        worker_id = current_caller().binding.worker_id
        await confirm_dispatch(self._context, request.task_id, worker_id)
        return stage_pb2.ConfirmDispatchResponse()

    async def CompleteStage(
        self, request: stage_pb2.CompleteStageRequest, context: Rpc
    ) -> stage_pb2.CompleteStageResponse:
        """Record a stage's result."""
        completion = await run_off_loop(request.ByteSize(), completion_from_proto, request)
        proceed = await complete_stage(self._context, completion)
        return decision_to_proto(proceed=proceed)

    async def FailStage(
        self, request: stage_pb2.FailStageRequest, context: Rpc
    ) -> stage_pb2.FailStageResponse:
        """Record a failed attempt."""
        error = error_from_proto(request.error)
        will_retry = await fail_stage(self._context, request.lease_token, error)
        return stage_pb2.FailStageResponse(will_retry=will_retry)

    async def ReleaseStage(
        self, request: stage_pb2.ReleaseStageRequest, context: Rpc
    ) -> stage_pb2.ReleaseStageResponse:
        """Return an attempt to the queue without counting it as a failure."""
        await release_stage(self._context, request.lease_token, request.reason)
        return stage_pb2.ReleaseStageResponse()

    async def _gathered(
        self, requests: AsyncIterator[stage_pb2.PublishEventsRequest]
    ) -> AsyncIterator[list[stage_pb2.PublishEventsRequest]]:
        """Yield the messages of a stream in lists of all that have arrived; it may stay silent.

        Raises:
            Unavailable: The server drains (DRAINING).
        """
        arrived: asyncio.Queue[stage_pb2.PublishEventsRequest] = asyncio.Queue(MAX_MESSAGES)
        reading = asyncio.create_task(_read(requests, arrived))
        shutdown = asyncio.create_task(self._context.shutdown.wait())
        first = asyncio.create_task(arrived.get())
        try:
            while True:
                await asyncio.wait({first, reading, shutdown}, return_when=asyncio.FIRST_COMPLETED)
                if not first.done() and arrived.empty():
                    if not reading.done():
                        raise draining()
                    # Raises the error that ended the stream, if any.
                    await reading
                    return
                messages = [await first]
                while len(messages) < MAX_MESSAGES and not arrived.empty():
                    messages.append(arrived.get_nowait())
                first = asyncio.create_task(arrived.get())
                yield messages
        finally:
            for task in (first, reading, shutdown):
                task.cancel()


async def _read(
    requests: AsyncIterator[stage_pb2.PublishEventsRequest],
    arrived: asyncio.Queue[stage_pb2.PublishEventsRequest],
) -> None:
    """Queue the messages of a stream until it ends."""
    async for request in requests:
        await arrived.put(request)


async def _joined(
    requests: list[stage_pb2.PublishEventsRequest],
) -> AsyncIterator[tuple[Batch, int]]:
    """Yield consecutive batches joined, each with the number of its messages.

    Raises:
        InvalidInput: A message is invalid; the batches before it are yielded first.
    """
    joined: Batch | None = None
    messages = 0
    for request in requests:
        try:
            batch = await _batch(request)
        except InvalidInput:
            if joined is not None:
                yield joined, messages
            raise
        if joined is not None and joined.followed_by(batch):
            joined, messages = joined.with_(batch), messages + 1
            continue
        if joined is not None:
            yield joined, messages
        joined, messages = batch, 1
    if joined is not None:
        yield joined, messages


async def _batch(request: stage_pb2.PublishEventsRequest) -> Batch:
    # Log lines arrive by the ten thousand a second and cost little; predictions may be long.
    lines = log_batch_from_proto(request)
    if lines is not None:
        return lines
    return await run_off_loop(request.ByteSize(), batch_from_proto, request)
