"""Interceptor of every API call: checks, caller, error status, request log and metrics."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from google.protobuf import descriptor_pool
from grpc_status import rpc_status

from services.api.rpc import (
    current_caller,
    current_identity,
    new_request_id,
    peer_address,
    set_caller,
)
from services.call_quotas import CallQuotas
from services.callers.refusals import Refusals
from services.callers.tokens import OpenCall, sending
from services.callers.watched_calls import CallWatch
from services.domain.access.audit import refusal_of
from services.domain.access.worker_binding import WorkerBinding
from services.domain.caller import Call, Caller
from services.domain.errors import Code, DomainError, PermissionDenied
from services.domain.lease import parse_token
from services.domain.run import run_name
from services.domain.scope import WORKER_LEASED
from services.domain.stage import Attempt
from services.error_status import internal_status, status_of
from services.metrics import Metrics
from services.request_limits import check_request, parse_request
from services.runtime.off_loop import run_off_loop
from services.storage.engine.columns import utc_now
from tailrace.formats.limits import MAX_NAME
from tailrace.v1 import stage_pb2
from tailrace.worker_token import LEASE_HEADER

_log = structlog.get_logger(__name__)

PACKAGE = "/tailrace.v1."
"""Beginning of the API's methods in paths."""

_QUIET = ("Get", "List", "Stream", "Watch", "WorkerHeartbeat", "PublishEvents", "Query", "Read")
"""Prefixes of methods that are logged at debug level: they change nothing, or come constantly."""

Continuation = Callable[
    [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
]

Reader = Callable[[Any], Any]

_WITH_WORKER = (stage_pb2.WorkerHeartbeatRequest, stage_pb2.AcquireStageRequest)
"""Requests that name the worker that calls."""

LeaseCheck = Callable[[str], Awaitable[Attempt]]
"""Function that returns the attempt of a lease's token, and raises ``LeaseLost`` without one."""


if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    # Generic in the stubs only.
    _Interceptor = grpc.aio.ServerInterceptor


class CallInterceptor(_Interceptor):
    """Wrapper of every API method; other methods, such as the health check, pass through.

    Requests are checked before their method runs: their size before they are parsed, their lease
    before any other field is read, then the limits of all fields. A worker's credential counts for
    its own name, pools and leases.

    Args:
        metrics: Metrics of calls.
        watch: Watch that ends calls early.
        quotas: Quotas of calls and streams.
        check_lease: See :data:`LeaseCheck`.
    """

    def __init__(
        self,
        metrics: Metrics,
        watch: CallWatch,
        quotas: CallQuotas,
        refusals: Refusals,
        check_lease: LeaseCheck,
    ) -> None:
        self._metrics = metrics
        self._watch = watch
        self._quotas = quotas
        self._refusals = refusals
        self._check_lease = check_lease
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the handler of a call, wrapped."""
        method = str(handler_call_details.method)
        if method in self._wrapped:
            return self._wrapped[method]
        handler: Any = await continuation(handler_call_details)
        if handler is not None and method.startswith(PACKAGE):
            handler = self._wrapped[method] = self._wrap(method, handler)
        return handler

    def _wrap(self, method: str, handler: Any) -> Any:
        name = method.removeprefix(PACKAGE)
        read = self._reader(method, handler)
        if handler.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            behaviour = self._stream(name, read, handler.stream_stream or handler.unary_stream)
        else:
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            behaviour = self._unary(name, read, handler.stream_unary or handler.unary_unary)
            if not handler.request_streaming:
                behaviour = self._in_turn(behaviour)
        # Without a deserializer, gRPC passes bytes; with one, it would answer UNKNOWN to bytes that
        # are not a message.
        return make(behaviour, None, handler.response_serializer)

    def _unary(self, name: str, read: Reader, behaviour: Any) -> Any:
        async def call(raw: Any, context: Any) -> Any:
            request = read(raw)
            async with self._around(name, request, context):
                await self._enter_lease(name, request, context)
                return await behaviour(await self._admit(request), context)

        return call

    def _in_turn(self, behaviour: Any) -> Any:
        """Return a behaviour that begins once it is the caller's turn."""

        async def call(raw: Any, context: Any) -> Any:
            async with self._quotas.turn(current_caller()):
                return await behaviour(raw, context)

        return call

    def _stream(self, name: str, read: Reader, behaviour: Any) -> Any:
        async def call(raw: Any, context: Any) -> AsyncIterator[Any]:
            request = read(raw)
            async with self._around(name, request, context, stream=True) as open_calls:
                await self._enter_lease(name, request, context)
                with self._quotas.stream(current_caller()):
                    async for response in behaviour(await self._admit(request), context):
                        with sending(open_calls):
                            yield response

        if not inspect.isasyncgenfunction(behaviour):
            raise TypeError(f"{name} must be an asynchronous generator")
        return call

    def _reader(self, method: str, handler: Any) -> Reader:
        """Return the function that parses received bytes to a request, or to an error.

        For a stream, the function returns the stream of checked requests.
        """
        service, _, call = method.removeprefix("/").rpartition("/")
        descriptor = descriptor_pool.Default().FindMethodByName(f"{service}.{call}")
        deserialize = handler.request_deserializer

        def message(raw: bytes) -> Any:
            try:
                return parse_request(raw, descriptor.input_type, deserialize)
            except DomainError as error:
                return error

        async def messages(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            lease = None
            async for raw in raws:
                request = message(raw)
                lease = await self._check_lease_of(request, lease)
                # Events are checked where they are converted, and content has no fields.
                check_request(request)
                yield request

        return messages if handler.request_streaming else message

    async def _admit(self, request: Any) -> Any:
        """Return a request once it is checked; raise its error otherwise.

        A stream of requests is returned unchecked: each message is checked when it arrives.
        """
        if isinstance(request, AsyncIterator):
            return request
        await self._check_lease_of(request)
        await run_off_loop(request.ByteSize(), check_request, request)
        _require_binding(request, current_caller().binding)
        return request

    async def _enter_lease(self, name: str, request: Any, context: Any) -> None:
        """Let a worker act for the run of a lease alone, which the metadata carries.

        It becomes a caller in the project of that run.

        Raises:
            LeaseLost: The lease is missing or not valid.
            PermissionDenied: The request names another run (OTHER_RUN).
        """
        caller = current_caller()
        is_broken = isinstance(request, DomainError)
        if name not in WORKER_LEASED or not caller.is_worker or is_broken:
            return
        text = dict(context.invocation_metadata()).get(LEASE_HEADER, "")
        attempt = await self._require_own_lease(text)
        set_caller(dataclasses.replace(caller, project=attempt.project), current_identity())
        if getattr(request, "parent", run_name(attempt.run_uid)) != run_name(attempt.run_uid):
            raise PermissionDenied(
                "OTHER_RUN", "a worker reads the run of its lease only, by its uid"
            )

    async def _check_lease_of(self, request: Any, checked_lease: str | None = None) -> str | None:
        """Check a request's lease, unless it was checked before, and return it, if there is one.

        Raises:
            DomainError: The request could not be parsed.
            LeaseLost: The lease is not valid.
        """
        if isinstance(request, DomainError):
            raise request
        lease: str | None = getattr(request, "lease_token", None)
        if lease is not None and lease != checked_lease:
            await self._require_own_lease(lease)
        return lease

    async def _require_own_lease(self, text: str) -> Attempt:
        """Return the attempt of a lease.

        Raise unless it is valid and the caller's credential may be that of its worker.
        """
        attempt = await self._check_lease(text)
        current_caller().binding.require_worker(attempt.worker_id)
        return attempt

    @asynccontextmanager
    async def _around(
        self, name: str, request: Any, context: Any, *, stream: bool = False
    ) -> AsyncIterator[Sequence[OpenCall]]:
        started = time.monotonic()
        code = "OK"
        caller = _with_call(current_caller(), name, request, context)
        set_caller(caller, current_identity())
        if stream:
            self._metrics.open_streams.labels(name).inc()
        open_calls: list[OpenCall] = []
        with structlog.contextvars.bound_contextvars(
            rpc=name, request_id=caller.call.request_id, **_subject(request)
        ):
            try:
                with self._watch.over(name, context, stream=stream) as open_calls:
                    yield open_calls
            except DomainError as error:
                code = error.code.name
                self._metrics.count_refusal(error)
                refusal = refusal_of(caller, error, utc_now())
                if refusal is not None:
                    self._refusals.note(refusal)
                await context.abort_with_status(rpc_status.to_status(status_of(error)))
            except GeneratorExit:
                code = "CANCELLED"
                raise
            except asyncio.CancelledError:
                code = "CANCELLED"
                ended = next((call.refusal for call in open_calls if call.refusal), None)
                if ended is not None:
                    code = ended.code.name
                    await context.abort_with_status(rpc_status.to_status(status_of(ended)))
                raise
            except grpc.aio.AbortError:
                code = "ABORTED_BY_HANDLER"
                raise
            except Exception:
                code = Code.INTERNAL.name
                error_id = uuid.uuid4().hex[:16]
                _log.exception("unexpected error", error_id=error_id)
                await context.abort_with_status(rpc_status.to_status(internal_status(error_id)))
                raise  # Not reached: the line above raises.
            finally:
                self._finish(name, code, time.monotonic() - started, stream=stream)

    def _finish(self, name: str, code: str, seconds: float, *, stream: bool) -> None:
        self._metrics.calls.labels(name, code).inc()
        if stream:
            self._metrics.open_streams.labels(name).dec()
            self._metrics.stream_seconds.labels(name).observe(seconds)
        else:
            self._metrics.seconds.labels(name).observe(seconds)
        quiet = name.rpartition("/")[2].startswith(_QUIET) and code in ("OK", "CANCELLED")
        log = _log.debug if quiet else _log.info
        log("call", code=code, seconds=round(seconds, 4))


def _require_binding(request: Any, binding: WorkerBinding) -> None:
    """Raise ``PermissionDenied`` if a request names a worker or pool of another credential.

    The use case reports a name that is missing.
    """
    if isinstance(request, stage_pb2.RegisterWorkerRequest):
        binding.require_pools(request.pools)
        worker_id = request.worker_id
    elif isinstance(request, _WITH_WORKER):
        worker_id = request.worker.removeprefix("workers/")
    else:
        return
    if worker_id:
        binding.require_worker(worker_id)


def _with_call(caller: Caller, name: str, request: Any, context: Any) -> Caller:
    """Return a caller with the call in progress.

    The request's ``request_id`` is not checked yet: one that could not be valid is not recorded.
    """
    request_id = getattr(request, "request_id", "")
    if not request_id.isprintable() or not 0 < len(request_id) <= MAX_NAME:
        request_id = new_request_id()
    call = Call(name, peer_address(context.peer()), request_id)
    return dataclasses.replace(caller, call=call)


def _subject(request: Any) -> dict[str, str]:
    """Return the subject of a request for the log, without secrets."""
    name = getattr(request, "name", "") or getattr(request, "parent", "")
    if isinstance(name, str) and name.startswith("runs/"):
        return {"run": name[:80]}
    lease = parse_token(getattr(request, "lease_token", ""))
    if lease is not None:
        return {"run_uid": lease.task_id.run_uid, "stage": lease.task_id.stage}
    uid = getattr(request, "run_uid", "")
    return {"run_uid": uid[:40]} if uid else {}
