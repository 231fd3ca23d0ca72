"""Authentication of workers by the worker token."""

from __future__ import annotations

import enum
import hmac
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from services.domain.errors import DomainError, Unauthenticated
from services.error_status import status_of
from services.interceptors import Continuation
from services.metrics import Metrics
from tailrace.v1 import stage_pb2
from tailrace.worker_token import FILE_NAME, VARIABLE, WorkerToken, bearer

_log = structlog.get_logger(__name__)

_WORKERS_ONLY = f"/{stage_pb2.DESCRIPTOR.services_by_name['StageService'].full_name}/"

_NO_TOKEN = (
    "only workers may call this, and the call did not carry the worker token of this control "
    f"plane: set {VARIABLE} to a copy of the file that the control plane has under the same "
    f"variable (default: {FILE_NAME} in its data folder)"
)
_OTHER_LISTENER = (
    "workers reach this control plane by another port, with a certificate: set TAILRACE_SERVER to "
    "the address of its TAILRACE_WORKER_BIND, and TAILRACE_CA_FILE, TAILRACE_CERT_FILE and "
    "TAILRACE_KEY_FILE"
)

if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    # Generic in the stubs only.
    _Interceptor = grpc.aio.ServerInterceptor


class Admission(enum.Enum):
    """Callers that a listener admits."""

    ALL = enum.auto()
    """Clients and workers."""
    CLIENTS_ONLY = enum.auto()
    """Clients; workers have a listener that requires a certificate."""
    WORKERS_ONLY = enum.auto()
    """Workers, whose connection has presented a certificate."""


class WorkerTokenInterceptor(_Interceptor):
    """Interceptor that refuses calls of StageService without the worker token."""

    def __init__(self, token: WorkerToken, metrics: Metrics, admission: Admission) -> None:
        self._token = token
        self._metrics = metrics
        self._admission = admission

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the handler of a call, or the refusal."""
        method = str(handler_call_details.method)
        if not method.startswith(_WORKERS_ONLY):
            return await continuation(handler_call_details)
        if self._admission is Admission.CLIENTS_ONLY:
            return self._refused(method, Unauthenticated("WORKER_CERTIFICATE", _OTHER_LISTENER))
        # The stubs declare each pair as `str`.
        metadata: Any = handler_call_details.invocation_metadata
        if hmac.compare_digest(bearer(metadata).encode(), self._token.value.encode()):
            return await continuation(handler_call_details)
        return self._refused(method, Unauthenticated("WORKER_TOKEN", _NO_TOKEN))

    def _refused(self, method: str, error: DomainError) -> Any:
        name = method.removeprefix("/tailrace.v1.")
        self._metrics.calls.labels(name, error.code.name).inc()
        _log.warning("a call was refused", rpc=name, reason=error.reason)

        async def refuse(_requests: Any, context: Any) -> None:
            await context.abort_with_status(rpc_status.to_status(status_of(error)))

        # A unary handler is called with the request; a streaming one has not read it yet.
        return grpc.stream_stream_rpc_method_handler(refuse)
