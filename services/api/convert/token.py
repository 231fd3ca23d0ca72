"""API tokens."""

from __future__ import annotations

from services.api.convert.values import enum_from_proto, enum_to_proto, timestamp
from services.domain.errors import InvalidInput
from services.domain.scope import Scope
from services.domain.token import Token
from services.domain.worker import worker_name
from tailrace.v1 import token_pb2


def token_to_proto(token: Token) -> token_pb2.Token:
    """Return the message of a token."""
    return token_pb2.Token(
        name=token.name,
        description=token.description,
        scopes=[enum_to_proto(token_pb2.TokenScope, scope.name) for scope in token.scopes],
        create_time=timestamp(token.create_time),
        expire_time=timestamp(token.expire_time),
        last_used_time=timestamp(token.last_used_time),
        revoke_time=timestamp(token.revoke_time),
        worker=worker_name(token.worker_id) if token.worker_id else "",
        pools=token.pools,
    )


def scopes_of(message: token_pb2.Token) -> list[Scope]:
    """Return the scopes of a message; raise ``InvalidInput`` for one that is not set."""
    words = [enum_from_proto(token_pb2.TokenScope, number) for number in message.scopes]
    try:
        return [Scope(word) for word in words]
    except ValueError:
        raise InvalidInput.field("token.scopes", "must not be unspecified") from None
