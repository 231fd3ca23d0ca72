"""API tokens."""

from __future__ import annotations

from services.api.convert.values import enum_from_proto, enum_to_proto, time, timestamp
from services.domain.access.project import parse_project_name, project_name
from services.domain.access.token import ALL_PROJECTS, Token
from services.domain.errors import InvalidInput
from services.domain.scope import Role, Scope
from services.domain.worker import parse_worker_name, worker_name
from services.usecases.access.tokens import NewToken
from tailrace.v1 import project_pb2, token_pb2

_ALL_NAME = project_name(ALL_PROJECTS)


def token_to_proto(token: Token) -> token_pb2.Token:
    """Return the message of a token."""
    message = token_pb2.Token(
        name=token.name,
        description=token.description,
        scopes=[enum_to_proto(token_pb2.TokenScope, scope.name) for scope in token.scopes],
        create_time=timestamp(token.create_time),
        expire_time=timestamp(token.expire_time),
        last_used_time=timestamp(token.last_used_time),
        revoke_time=timestamp(token.revoke_time),
        worker=worker_name(token.worker_id) if token.worker_id else "",
        pools=token.pools,
        project=project_name(token.project),
    )
    if token.role is not None:
        message.role = enum_to_proto(project_pb2.ProjectRole, token.role.name)
    return message


def new_token_of(message: token_pb2.Token) -> NewToken:
    """Return the token to create; raise ``InvalidInput`` for a field that cannot be read."""
    is_limited = message.HasField("expire_time")
    return NewToken(
        description=message.description,
        project=_project(message.project),
        role=_role(message),
        scopes=_scopes(message),
        expire_time=time(message.expire_time, "token.expire_time") if is_limited else None,
        worker_id=parse_worker_name(message.worker, "token.worker") if message.worker else "",
        pools=tuple(message.pools),
    )


def _project(name: str) -> str:
    if name in ("", _ALL_NAME):
        return ALL_PROJECTS if name else ""
    return parse_project_name(name, "token.project")


def _role(message: token_pb2.Token) -> Role | None:
    if not message.role:
        return None
    try:
        return Role(enum_from_proto(project_pb2.ProjectRole, message.role))
    except ValueError:
        raise InvalidInput.field("token.role", "is not a role") from None


def _scopes(message: token_pb2.Token) -> list[Scope]:
    words = [enum_from_proto(token_pb2.TokenScope, number) for number in message.scopes]
    try:
        return [Scope(word) for word in words]
    except ValueError:
        raise InvalidInput.field("token.scopes", "must not be unspecified") from None
