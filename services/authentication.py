"""Authentication: who calls, by the worker token or an API token, and what the caller may do."""

from __future__ import annotations

import dataclasses
import enum
import hmac
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from services.api.rpc import new_request_id, peer_address, set_caller
from services.call_quotas import CallQuotas
from services.callers.projects import Projects
from services.callers.refusals import Refusals
from services.callers.tokens import Tokens
from services.domain.access.audit import refusal_of
from services.domain.access.token import ALL_PROJECTS, id_of
from services.domain.caller import LOCAL, Call, Caller, Identity
from services.domain.errors import (
    DomainError,
    PermissionDenied,
    QuotaExceeded,
    Unauthenticated,
)
from services.domain.scope import (
    ANY_PROJECT,
    CLIENT_SCOPES,
    NOT_FOR_SESSIONS,
    PUBLIC,
    RULES,
    Scope,
)
from services.error_status import status_of
from services.interceptors import PACKAGE, Continuation
from services.metrics import Metrics
from services.oidc.verifier import Verifier, is_jwt
from services.storage.engine.columns import utc_now
from tailrace.access import PROJECT_HEADER
from tailrace.worker_token import FILE_NAME, VARIABLE, WorkerToken, bearer

_log = structlog.get_logger(__name__)

_WORKERS_ONLY = "StageService/"

WORKER = Identity("worker", scopes=frozenset({Scope.WORKER}))
"""Holder of the worker token."""

NOBODY = Identity("")
"""Caller of a method that needs no credential."""

_EXCHANGE = "SessionService/CreateSession"

_NO_TOKEN = (
    "only workers may call this, and the call did not carry the worker token of this control "
    f"plane: set {VARIABLE} to a copy of the file that the control plane has under the same "
    f"variable (default: {FILE_NAME} in its data folder)"
)
_MISSING = (
    "this control plane asks for a token: `tailrace login` stores one, or TAILRACE_TOKEN_FILE "
    "names a file with it; an administrator makes it with `tailrace tokens create`"
)
_NO_OIDC = (
    "this control plane knows no OpenID provider (TAILRACE_OIDC_FILE): log in with an API token"
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


class AuthenticationInterceptor(_Interceptor):
    """Interceptor that makes the caller of each call, and refuses calls that it may not make now.

    It decides by the metadata alone: the body of a refused call is not read.
    """

    def __init__(
        self,
        worker_token: WorkerToken,
        tokens: Tokens,
        projects: Projects,
        quotas: CallQuotas,
        metrics: Metrics,
        refusals: Refusals,
        admission: Admission,
        oidc: Verifier | None,
        *,
        tokens_required: bool,
    ) -> None:
        self._worker_token = worker_token
        self._tokens = tokens
        self._projects = projects
        self._quotas = quotas
        self._metrics = metrics
        self._refusals = refusals
        self._admission = admission
        self._oidc = oidc
        self._anonymous = None if tokens_required else Identity(LOCAL, scopes=CLIENT_SCOPES)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the handler of a call, or the refusal."""
        method = str(handler_call_details.method)
        if not method.startswith(PACKAGE):
            return await continuation(handler_call_details)
        name = method.removeprefix(PACKAGE)
        if name not in RULES:
            # gRPC answers UNIMPLEMENTED. An invented name must reach neither metrics nor logs.
            return None
        # The stubs declare each pair as `str`.
        metadata: Any = handler_call_details.invocation_metadata
        # The caller of a refusal, if known.
        caller = Caller(ALL_PROJECTS, frozenset(), subject="")
        try:
            identity = await self._identity(name, bearer(metadata))
            caller = dataclasses.replace(caller, subject=identity.subject)
            caller = await self._caller(name, identity, _project(metadata))
        except DomainError as error:
            return self._refused(name, caller, error)
        set_caller(caller, identity)
        return await continuation(handler_call_details)

    async def _caller(self, name: str, identity: Identity, project: str) -> Caller:
        """Return the caller of a method; raise an error unless it may be called."""
        if name in ANY_PROJECT:
            caller = identity.caller_anywhere()
        elif name in PUBLIC:
            caller = Caller(scopes=frozenset())
        else:
            caller = identity.caller(project)
        self._require_scope(name, caller)
        if identity.is_session and name in NOT_FOR_SESSIONS:
            raise PermissionDenied(
                "IS_SESSION",
                f"{name} needs an API token or a login: what a session makes would outlive it",
            )
        if name not in PUBLIC:
            self._quotas.take(caller)
        if name not in ANY_PROJECT | PUBLIC:
            await self._projects.require(caller.project)
        return caller

    async def _identity(self, name: str, text: str) -> Identity:
        """Return the holder of a credential.

        Raises:
            Unauthenticated: The credential is missing or not valid.
            Unavailable: The database does not answer.
        """
        if name in PUBLIC:
            return NOBODY
        if hmac.compare_digest(text.encode(), self._worker_token.value.encode()):
            return WORKER
        if not text and self._anonymous is not None:
            return self._anonymous
        if name.startswith(_WORKERS_ONLY) and id_of(text) is None:
            raise Unauthenticated("WORKER_TOKEN", _NO_TOKEN)
        if not text:
            raise Unauthenticated("TOKEN_MISSING", _MISSING)
        if id_of(text) is None and is_jwt(text):
            if self._oidc is None:
                raise Unauthenticated("TOKEN_INVALID", _NO_OIDC)
            return await self._oidc.identity(text, is_login=name == _EXCHANGE)
        return await self._tokens.identity(text)

    def _require_scope(self, name: str, caller: Caller) -> None:
        """Raise an error unless the caller may call a method on this listener."""
        allowed = RULES[name]
        if not caller.scopes & allowed and name not in PUBLIC:
            if allowed == WORKER.scopes:
                raise Unauthenticated("WORKER_TOKEN", _NO_TOKEN)
            needed = next((scope for scope in Scope if scope in allowed), Scope.ADMIN)
            raise PermissionDenied(
                "SCOPE_MISSING",
                f"{name} needs the scope {needed}, and this token has "
                f"{', '.join(sorted(caller.scopes))}: an administrator makes another with "
                "`tailrace tokens create`",
            )
        if self._admission is Admission.CLIENTS_ONLY and caller.is_worker:
            raise Unauthenticated("WORKER_CERTIFICATE", _OTHER_LISTENER)
        if self._admission is Admission.WORKERS_ONLY and not caller.is_worker:
            raise PermissionDenied(
                "WORKERS_ONLY", "only workers may call this port; clients have another one"
            )

    def _refused(self, name: str, caller: Caller, error: DomainError) -> Any:
        self._metrics.count_error(name, error)
        # Calls that come too often would fill the log.
        log = _log.debug if isinstance(error, QuotaExceeded) else _log.warning
        log("a call was refused", rpc=name, reason=error.reason)

        async def refuse(_requests: Any, context: Any) -> None:
            call = Call(name, peer_address(context.peer()), new_request_id())
            called = dataclasses.replace(caller, call=call)
            refusal = refusal_of(called, error, utc_now(), denied=True)
            if refusal is not None:
                self._refusals.note(refusal)
            await context.abort_with_status(rpc_status.to_status(status_of(error)))

        # A unary handler is called with the request; a streaming one has not read it yet.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _project(metadata: Any) -> str:
    """Return the project that a call's metadata names; empty if it names none."""
    return next((str(value) for key, value in metadata or () if key == PROJECT_HEADER), "")
