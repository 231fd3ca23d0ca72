"""What servicers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias, TypeVar

import grpc.aio

from services.domain.errors import Unavailable

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
