"""Authentication of workers by the worker token."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from services.domain.errors import Unauthenticated
from services.error_status import status_of
from services.interceptors import Continuation
from services.metrics import Metrics
from tailrace.v1 import stage_pb2
from tailrace.worker_token import FILE_NAME, VARIABLE, WorkerToken, bearer

_log = structlog.get_logger(__name__)

_WORKERS_ONLY = f"/{stage_pb2.DESCRIPTOR.services_by_name['StageService'].full_name}/"

if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    # Generic in the stubs only.
    _Interceptor = grpc.aio.ServerInterceptor


class WorkerTokenInterceptor(_Interceptor):
    """Interceptor that refuses calls of StageService without the worker token."""

    def __init__(self, token: WorkerToken, metrics: Metrics) -> None:
        self._token = token
        self._metrics = metrics
        # A unary handler is called with the request; a streaming one has not read it yet.
        self._refusal = grpc.stream_stream_rpc_method_handler(_refuse)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the handler of a call, or the refusal."""
        method = str(handler_call_details.method)
        if not method.startswith(_WORKERS_ONLY):
            return await continuation(handler_call_details)
        # The stubs declare each pair as `str`.
        metadata: Any = handler_call_details.invocation_metadata
        if hmac.compare_digest(bearer(metadata).encode(), self._token.value.encode()):
            return await continuation(handler_call_details)
        name = method.removeprefix("/tailrace.v1.")
        self._metrics.calls.labels(name, Unauthenticated.code.name).inc()
        _log.warning("a call without the worker token was refused", rpc=name)
        return self._refusal


async def _refuse(_requests: Any, context: Any) -> None:
    error = Unauthenticated(
        "WORKER_TOKEN",
        "only workers may call this, and the call did not carry the worker token of this control "
        f"plane: set {VARIABLE} to a copy of the file that the control plane has under the same "
        f"variable (default: {FILE_NAME} in its data folder)",
    )
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
