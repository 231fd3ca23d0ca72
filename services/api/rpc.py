"""What servicers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, TypeVar

import grpc.aio

from services.domain.caller import Caller
from services.domain.errors import InvalidInput, Unavailable
from services.settings import Settings
from services.storage.blobs.store import CHUNK_BYTES
from services.usecases.runs.quota import OpenStreams

T = TypeVar("T")

Rpc: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""Type of the gRPC context of a call in progress."""

_CALLER: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Set the caller of the call in progress, whose task has a context of its own."""
    _CALLER.set(caller)


def current_caller() -> Caller:
    """Return the caller of the call in progress."""
    return _CALLER.get()


async def prompt_messages(requests: AsyncIterator[T], idle_seconds: float) -> AsyncIterator[T]:
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


class Uploads:
    """The uploads and imports that are open: bounded in number, and none may fall silent."""

    def __init__(self, settings: Settings) -> None:
        self._open = OpenStreams(settings.max_open_uploads, "uploads and imports")
        self._idle_seconds = settings.upload_idle_seconds

    @contextmanager
    def open(self, requests: AsyncIterator[T]) -> Iterator[AsyncIterator[T]]:
        """One more, for as long as the block; its messages.

        Raises ``ResourceExhausted`` (TOO_MANY_STREAMS), and where the messages are read
        ``Unavailable`` (STREAM_IDLE).
        """
        with self._open.open():
            yield prompt_messages(requests, self._idle_seconds)


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
