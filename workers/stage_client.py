"""Client of StageService, which repeats its calls until they are answered.

Every call of StageService may be repeated, so an unavailable, restarting or busy control plane only
delays a report.
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
"""Deadline of one try, in seconds."""

STORED_BYTES = "TOO_MANY_STORED_BYTES"
"""Reason of a refusal because the run's project may not store its artifacts."""

_ABSENCE_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""Codes of a control plane that is absent or busy: the call is repeated as long as the caller
waits."""

_LASTING = frozenset({"MESSAGE_TOO_LARGE", STORED_BYTES})
"""Reasons of RESOURCE_EXHAUSTED that waiting does not end."""

FAULT_CODES = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAUTHENTICATED}
"""Codes of a faulty control plane, or of a worker token that only one side has replaced already:
the call is repeated a few times, because the fault may pass."""

_MAX_FAULTS = 10


class LeaseLostError(Exception):
    """The lease of the attempt is lost: nothing more may be reported."""


class EventCall(Protocol):
    """A PublishEvents call in progress."""

    def __iter__(self) -> Iterator[stage_pb2.PublishEventsResponse]:
        """Yield the answers, one per batch."""
        ...

    def cancel(self) -> bool:
        """End the call; its iterator then raises."""
        ...


class StageClient:
    """Client of StageService over one channel. Thread-safe."""

    def __init__(self, channel: grpc.Channel, token: WorkerToken) -> None:
        self._token = token
        self._channel = channel
        self._away_since: float | None = None
        channel.subscribe(self._on_connectivity)

    @property
    def _stub(self) -> stage_pb2_grpc.StageServiceStub:
        """Stub over the newest connection, which changes with the TLS files."""
        return stage_pb2_grpc.StageServiceStub(self._channel)

    def away_seconds(self) -> float:
        """Return the seconds since the connection failed; 0 if it has not."""
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
        """Call RegisterWorker once.

        Raises:
            TailraceError: The call failed.
        """
        return self._once(self._stub.RegisterWorker, request)

    def heartbeat(
        self, request: stage_pb2.WorkerHeartbeatRequest
    ) -> stage_pb2.WorkerHeartbeatResponse:
        """Call WorkerHeartbeat once.

        Raises:
            TailraceError: The call failed.
        """
        return self._once(self._stub.WorkerHeartbeat, request)

    def acquire(
        self,
        request: stage_pb2.AcquireStageRequest,
        *,
        secret: Callable[[], str],
        patience: float,
        stop: Callable[[], bool],
    ) -> stage_pb2.AcquireStageResponse:
        """Call AcquireStage, for at most ``patience`` seconds; see :meth:`complete` for ``stop``.

        The call is also repeated while the control plane does not know the worker, or ``secret`` is
        not the newest one: with its next heartbeat the worker registers again.
        """
        patient = _ABSENCE_CODES | {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}

        def with_secret(message: Any, **options: Any) -> stage_pb2.AcquireStageResponse:
            message.worker_secret = secret()
            return self._stub.AcquireStage(message, **options)

        return self._repeat(with_secret, request, stop, patience, patient)

    def confirm(self, task_id: str, *, patience: float) -> None:
        """Call ConfirmDispatch, for at most ``patience`` seconds."""
        request = stage_pb2.ConfirmDispatchRequest(task_id=task_id)
        self._repeat(self._stub.ConfirmDispatch, request, lambda: False, patience)

    def find_reference(
        self, request: stage_pb2.FindReferenceRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.FindReferenceResponse:
        """Call FindReference as :meth:`complete` calls CompleteStage."""
        return self._repeat(self._stub.FindReference, request, stop)

    def complete(
        self, request: stage_pb2.CompleteStageRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.CompleteStageResponse:
        """Call CompleteStage until there is an answer or ``stop()`` is true.

        Raises:
            LeaseLostError: The lease is lost.
            TailraceError: The control plane refused the report, or ``stop()`` ended the repetition.
        """
        return self._repeat(self._stub.CompleteStage, request, stop)

    def fail(
        self, request: stage_pb2.FailStageRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.FailStageResponse:
        """Call FailStage as :meth:`complete` calls CompleteStage."""
        return self._repeat(self._stub.FailStage, request, stop)

    def fail_once(self, request: stage_pb2.FailStageRequest) -> stage_pb2.FailStageResponse:
        """Call FailStage once.

        Raises:
            LeaseLostError: The lease is lost.
            TailraceError: The call failed.
        """
        return self._once(self._stub.FailStage, request)

    def release(
        self, request: stage_pb2.ReleaseStageRequest, *, stop: Callable[[], bool]
    ) -> stage_pb2.ReleaseStageResponse:
        """Call ReleaseStage as :meth:`complete` calls CompleteStage."""
        return self._repeat(self._stub.ReleaseStage, request, stop)

    def publish(self, requests: Iterator[stage_pb2.PublishEventsRequest]) -> EventCall:
        """Open a PublishEvents stream, whose iterator raises ``grpc.RpcError``."""
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
            return error.code in repeatable and error.reason not in _LASTING

        for attempt in POLICY.attempts(is_repeatable, patience):
            with attempt:
                return self._once(method, request)
        raise AssertionError("attempts end with a result or an error")


def typed_error(error: grpc.RpcError) -> Exception:
    """Return the error of a failed call: :class:`LeaseLostError`, or the SDK's typed error."""
    sdk_error = from_rpc(error)
    if isinstance(sdk_error, FailedPrecondition) and sdk_error.reason == "LEASE_LOST":
        return LeaseLostError(sdk_error.message)
    return sdk_error


def is_transient(error: TailraceError) -> bool:
    """Return True if the same request may be answered later."""
    return error.code in _ABSENCE_CODES and error.reason not in _LASTING
