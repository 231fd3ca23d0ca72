"""Calls of SessionService."""

from __future__ import annotations

from tailrace.client.call import Unary, resource
from tailrace.v1 import session_pb2, session_pb2_grpc

_Stub = session_pb2_grpc.SessionServiceStub


def get_login_options() -> Unary[session_pb2.LoginOptions]:
    """Return the OpenID provider and the client ids for a login; it needs no token.

    Raises:
        FailedPrecondition: The control plane knows no provider.
    """
    request = session_pb2.GetLoginOptionsRequest()
    return Unary(lambda channel: _Stub(channel).GetLoginOptions, request)


def create_session(*, nonce: str = "") -> Unary[session_pb2.CreateSessionResponse]:
    """Exchange the client's token for a session of 12 hours; its secret is in the response.

    A session has the rights of the token, and ends with it if it is an API token.

    Args:
        nonce: Nonce of the login, if the client's token is the ID token of a login with one.

    Raises:
        PermissionDenied: The client's token is a session itself.
        Unauthenticated: The token is missing or not valid, or the nonce is not that of the token.
    """
    request = session_pb2.CreateSessionRequest(nonce=nonce)
    return Unary(lambda channel: _Stub(channel).CreateSession, request)


def end_session(name: str = "") -> Unary[session_pb2.Session]:
    """End a session for good; its streams end within 10 seconds.

    Args:
        name: Id or name of the session (default: the one that is the client's token).

    Raises:
        FailedPrecondition: No name is given, and the client's token is not a session.
        NotFound: There is no such session, or it is another's.
    """
    request = session_pb2.EndSessionRequest(name=resource("sessions", name) if name else "")
    return Unary(lambda channel: _Stub(channel).EndSession, request)
