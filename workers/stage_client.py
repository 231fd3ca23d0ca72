"""Calls of the control plane, repeated until they are answered.

Every call of StageService may be repeated; so a control plane that is away, restarting or busy
only delays a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from tailrace.errors import FailedPrecondition, TailraceError, from_rpc
from tailrace.v1 import stage_pb2, stage_pb2_grpc
from tailrace.worker_token import WorkerToken
from workers.backoff import POLICY

R = TypeVar("R", bound=Message)

CALL_SECONDS = 15.0
"""Deadline of one try."""

_ABSENCE_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""Nobody answered, or nobody had the time: repeated for as long as the caller likes."""

FAULT_CODES = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAUTHENTICATED}
"""The control plane broke, or the worker token is being replaced and one side has the new one
already: repeated a few times, since it may pass."""

_MAX_FAULTS = 10


class LeaseLostError(Exception):
    """The attempt is no longer ours: nothing more may be reported."""


class EventCall(Protocol):
    """A PublishEvents call that is under way."""

    def __iter__(self) -> Iterator[stage_pb2.PublishEventsResponse]:
        """The answers, one per batch."""
        ...

    def cancel(self) -> bool:
        """End the call; iterating then raises."""
        ...


class StageClient:
    """StageService over one channel. Thread-safe."""

    def __init__(self, channel: grpc.Channel, token: WorkerToken) -> None:
        self._token = token
        self._stub = stage_pb2_grpc.StageServiceStub(channel)
        self._away_since: float | None = None
        channel.subscribe(self._on_connectivity)

    def away_seconds(self) -> float:
        """For how long no connection could be made; 0 as far as nobody tried in vain."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def _on_connectivity(self, state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            self._away_since = None
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and self._away_since is None:
            self._away_since = time.monotonic()

    def register(
        self, request: stage_pb2.RegisterWorkerRequest
    ) -> stage_pb2.RegisterWorkerResponse:
        """One try of RegisterWorker; raises :class:`tailrace.errors.TailraceError`."""
        return self._once(self._stub.RegisterWorker, request)

    def heartbeat(
        self, request: stage_pb2.WorkerHeartbeatRequest
    ) -> stage_pb2.WorkerHeartbeatResponse:
        """One try of WorkerHeartbeat; raises :class:`tailrace.errors.TailraceError`."""
        return self._once(self._stub.WorkerHeartbeat, request)

    def acquire(
        self,
        request: stage_pb2.AcquireStageRequest,
        *,
        secret: Callable[[], str],
        patience: float,
        stop: Callable[[], bool],
    ) -> stage_pb2.AcquireStageResponse:
        """AcquireStage, for at most ``patience`` seconds; see :meth:`complete` for ``stop``.

        A worker that the control plane does not know, or whose ``secret`` is not the newest, is
        waited for too: its next heartbeat makes it register again.
        """
        patient = _ABSENCE_CODES | {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}

        def with_secret(message: Any, **options: Any) -> stage_pb2.AcquireStageResponse:
            message.worker_secret = secret()
            return self._stub.AcquireStage(message, **options)

        return self._repeat(with_secret, request, stop, patience, patient)

    def confirm(self, task_id: str, *, patience: float) -> None:
        """ConfirmDispatch, for at most ``patience`` seconds."""
        request = stage_pb2.ConfirmDispatchRequest(task_id=task_id)
        self._repeat(self._stub.ConfirmDispatch, request, lambda: False, patience)

    def complete(
        self, request: stage_pb2.CompleteStageRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.CompleteStageResponse:
        """CompleteStage, until there is an answer or ``stop()``.

        Raises:
            LeaseLostError: The control plane said so.
            TailraceError: It refused for another reason, or ``stop()`` ended the repetition.
        """
        return self._repeat(self._stub.CompleteStage, request, stop)

    def fail(
        self, request: stage_pb2.FailStageRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.FailStageResponse:
        """FailStage; as :meth:`complete`."""
        return self._repeat(self._stub.FailStage, request, stop)

    def fail_once(self, request: stage_pb2.FailStageRequest) -> stage_pb2.FailStageResponse:
        """One try of FailStage; raises as :meth:`complete`."""
        return self._once(self._stub.FailStage, request)

    def release(
        self, request: stage_pb2.ReleaseStageRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.ReleaseStageResponse:
        """ReleaseStage; as :meth:`complete`."""
        return self._repeat(self._stub.ReleaseStage, request, stop)

    def publish(self, requests: Iterator[stage_pb2.PublishEventsRequest]) -> EventCall:
        """The PublishEvents stream; iterating raises ``grpc.RpcError``."""
        call: Any = self._stub.PublishEvents(requests, metadata=self._token.metadata())
        stream: EventCall = call
        return stream

    def _once(self, method: Callable[..., R], request: Message) -> R:
        try:
            return method(request, timeout=CALL_SECONDS, metadata=self._token.metadata())
        except grpc.RpcError as error:
            raise typed_error(error) from error

    def _repeat(
        self,
        method: Callable[..., R],
        request: Message,
        stop: Callable[[], bool],
        patience: float | None = None,
        repeatable: Set[grpc.StatusCode] = _ABSENCE_CODES,
    ) -> R:
        faults = 0

        def is_repeatable(error: Exception) -> bool:
            nonlocal faults
            if not isinstance(error, TailraceError) or stop():
                return False
            if error.code in FAULT_CODES:
                faults += 1
                return faults < _MAX_FAULTS
            return error.code in repeatable

        for attempt in POLICY.attempts(is_repeatable, patience):
            with attempt:
                return self._once(method, request)
        raise AssertionError("attempts end with a result or an error")


def typed_error(error: grpc.RpcError) -> Exception:
    """The error of a failed call: :class:`LeaseLostError`, or the SDK's typed error."""
    found = from_rpc(error)
    if isinstance(found, FailedPrecondition) and found.reason == "LEASE_LOST":
        return LeaseLostError(found.message)
    return found


def is_transient(error: TailraceError) -> bool:
    """Whether the same request may be answered later."""
    return error.code in _ABSENCE_CODES and error.reason != "MESSAGE_TOO_LARGE"
