"""Servicer of SessionService."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.api.rpc import Rpc, current_caller, current_identity
from services.domain.access.token import Token, parse_session_name
from services.domain.errors import FailedPrecondition
from services.oidc.configuration import OidcConfiguration
from services.usecases.access import sessions
from services.usecases.context import Context
from tailrace.v1 import session_pb2, session_pb2_grpc


class SessionServicer(session_pb2_grpc.SessionServiceServicer):
    """Servicer of ``protos/tailrace/v1/session.proto``."""

    def __init__(self, context: Context, oidc: OidcConfiguration | None) -> None:
        self._context = context
        self._oidc = oidc

    async def GetLoginOptions(
        self, request: session_pb2.GetLoginOptionsRequest, context: Rpc
    ) -> session_pb2.LoginOptions:
        """Return what a client needs for a login with the OpenID provider."""
        if self._oidc is None:
            raise FailedPrecondition(
                "OIDC_OFF",
                "this control plane knows no OpenID provider (TAILRACE_OIDC_FILE): log in with an "
                "API token",
            )
        return session_pb2.LoginOptions(
            issuer=self._oidc.issuer,
            client_id=self._oidc.client_id,
            console_client_id=self._oidc.console_app,
            scopes=self._oidc.scopes,
            sends_id_token=self._oidc.send == "id_token",
        )

    async def CreateSession(
        self, request: session_pb2.CreateSessionRequest, context: Rpc
    ) -> session_pb2.CreateSessionResponse:
        """Exchange the credential of the call for a session, and return its secret, once."""
        session, secret = await sessions.create_session(
            self._context, current_caller(), current_identity(), request.nonce
        )
        return session_pb2.CreateSessionResponse(session=_to_proto(session), secret=secret)

    async def EndSession(
        self, request: session_pb2.EndSessionRequest, context: Rpc
    ) -> session_pb2.Session:
        """End a session for good."""
        session_id = parse_session_name(request.name) if request.name else ""
        session = await sessions.end_session(
            self._context, current_caller(), current_identity(), session_id
        )
        return _to_proto(session)


def _to_proto(session: Token) -> session_pb2.Session:
    return session_pb2.Session(
        name=f"sessions/{session.token_id}",
        subject=session.subject,
        create_time=timestamp(session.create_time),
        expire_time=timestamp(session.expire_time),
        end_time=timestamp(session.revoke_time),
    )
