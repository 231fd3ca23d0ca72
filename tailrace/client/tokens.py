"""Calls of TokenService."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tailrace.client.call import Paged, Unary, resource
from tailrace.protomap import enum_number
from tailrace.v1 import project_pb2, token_pb2, token_pb2_grpc

_Stub = token_pb2_grpc.TokenServiceStub


def create_token(
    scopes: Sequence[str] = (),
    *,
    role: str = "",
    project: str = "",
    description: str = "",
    expire_time: datetime | None = None,
    worker: str = "",
    pools: Sequence[str] = (),
) -> Unary[token_pb2.CreateTokenResponse]:
    """Create an API token; its secret is in the response and nowhere else.

    Args:
        scopes: Of ``read``, ``write``, ``admin`` and ``worker``, in place of a role; the last two
            count in every project.
        role: Role in the project, ``viewer``, ``editor`` or ``owner``, in place of scopes.
        project: Project of its rights, or ``projects/-`` for every project (default: the client's,
            or every project with the scopes ``admin`` and ``worker``).
        description: Who or what holds it.
        expire_time: Time from which it is refused, with a time zone (default: never).
        worker: Worker that holds it; needed for the scope ``worker``.
        pools: Pools that the worker may serve; needed for the scope ``worker``.

    Raises:
        InvalidArgument: A field is invalid.
        NotFound: There is no such project, or the caller has no role in it.
        PermissionDenied: The token would have rights that the caller lacks.
    """
    # Numbers of an enum have separate types in the stubs.
    numbers: Any = [enum_number(token_pb2.TokenScope.DESCRIPTOR, scope) for scope in scopes]
    number: Any = enum_number(project_pb2.ProjectRole.DESCRIPTOR, role) if role else None
    name = resource("projects", project) if project else ""
    token = token_pb2.Token(
        description=description, scopes=numbers, role=number, project=name, pools=pools
    )
    if worker:
        token.worker = resource("workers", worker)
    if expire_time is not None:
        token.expire_time.FromDatetime(expire_time)
    request = token_pb2.CreateTokenRequest(token=token)
    return Unary(lambda channel: _Stub(channel).CreateToken, request)


def list_tokens(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[token_pb2.ListTokensResponse, token_pb2.Token]:
    """Iterate over the API tokens that the caller manages, sorted by name.

    Revoked and expired ones are included.

    Args:
        page_size: Tokens per request (default: the server's choice).
        limit: Maximum number of tokens (default: all).
    """
    request = token_pb2.ListTokensRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListTokens, request, lambda page: page.tokens, limit
    )


def revoke_token(name: str) -> Unary[token_pb2.Token]:
    """Revoke an API token for good; its streams end within 10 seconds.

    Raises:
        NotFound: There is no such token.
    """
    request = token_pb2.RevokeTokenRequest(name=resource("tokens", name))
    return Unary(lambda channel: _Stub(channel).RevokeToken, request)
