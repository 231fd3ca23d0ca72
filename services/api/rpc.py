"""What servicers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeAlias, TypeVar

import grpc.aio

from services.domain.errors import InvalidInput, Unavailable
from services.storage.blobs import CHUNK_BYTES

T = TypeVar("T")

Rpc: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""The context of a call in progress."""

IDLE_SECONDS = 60.0
"""Longest pause between two messages of an upload, in seconds."""


async def prompt_messages(
    requests: AsyncIterator[T], idle_seconds: float = IDLE_SECONDS
) -> AsyncIterator[T]:
    """The messages of a client's stream; raises ``Unavailable`` (STREAM_IDLE) when it falls silent.

    A client that stops sending without closing would otherwise hold its upload's lock for ever.
    """
    iterator = aiter(requests)
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                message = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Unavailable(
                "STREAM_IDLE", f"no message came for {idle_seconds:g} seconds: start again"
            ) from None
        yield message


class UploadMessage(Protocol):
    """A message of an import: its ``payload`` is a header or data."""

    @property
    def data(self) -> bytes:
        """The next bytes."""

    def WhichOneof(self, oneof_group: Any) -> Any:
        """The field of ``payload`` that is set."""


async def upload_data(requests: AsyncIterator[UploadMessage]) -> AsyncIterator[bytes]:
    """The data after an import's header; raises ``InvalidInput`` for a message that is not data."""
    async for request in requests:
        if request.WhichOneof("payload") == "header":
            raise InvalidInput.field("header", "came twice; only the first message has it")
        if len(request.data) > CHUNK_BYTES:
            raise InvalidInput.field(
                "data", f"has {len(request.data)} bytes, at most {CHUNK_BYTES} in one message"
            )
        yield request.data
