"""Servicer of TokenService."""

from __future__ import annotations

from services.api.convert.token import new_token_of, token_to_proto
from services.api.rpc import Rpc, current_caller
from services.domain.access.token import parse_token_name
from services.usecases.access import tokens
from services.usecases.context import Context
from tailrace.v1 import token_pb2, token_pb2_grpc


class TokenServicer(token_pb2_grpc.TokenServiceServicer):
    """Servicer of ``protos/tailrace/v1/token.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def CreateToken(
        self, request: token_pb2.CreateTokenRequest, context: Rpc
    ) -> token_pb2.CreateTokenResponse:
        """Create a token and return its secret, once."""
        new = new_token_of(request.token)
        token, secret = await tokens.create_token(self._context, current_caller(), new)
        return token_pb2.CreateTokenResponse(token=token_to_proto(token), secret=secret)

    async def ListTokens(
        self, request: token_pb2.ListTokensRequest, context: Rpc
    ) -> token_pb2.ListTokensResponse:
        """List tokens by name."""
        page, token = await tokens.list_tokens(
            self._context, current_caller(), size=request.page_size, token=request.page_token
        )
        return token_pb2.ListTokensResponse(tokens=map(token_to_proto, page), next_page_token=token)

    async def RevokeToken(
        self, request: token_pb2.RevokeTokenRequest, context: Rpc
    ) -> token_pb2.Token:
        """Revoke a token for good."""
        token_id = parse_token_name(request.name)
        return token_to_proto(await tokens.revoke_token(self._context, current_caller(), token_id))
