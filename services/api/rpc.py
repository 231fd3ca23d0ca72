"""Helpers of servicers: the caller, uploads and client streams."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import unquote

import grpc.aio

from services.domain.caller import Caller, Identity
from services.domain.errors import InvalidInput, Unavailable
from services.settings import Settings
from services.storage.blobs.store import CHUNK_BYTES
from services.usecases.quotas.streams import OpenStreams

T = TypeVar("T")

Rpc: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""Type of the gRPC context of a call in progress."""

_CALLER: ContextVar[Caller] = ContextVar("caller")
_IDENTITY: ContextVar[Identity] = ContextVar("identity")


def set_caller(caller: Caller, identity: Identity) -> None:
    """Set the caller of the call in progress; each call has its own task and context."""
    _CALLER.set(caller)
    _IDENTITY.set(identity)


def current_caller() -> Caller:
    """Return the caller of the call in progress."""
    return _CALLER.get()


def current_identity() -> Identity:
    """Return the holder of the credential of the call in progress."""
    return _IDENTITY.get()


def peer_address(peer: str) -> str:
    """Return ``host:port`` of gRPC's name of a peer, such as ``ipv6:%5B::1%5D:50000``."""
    kind, _, address = unquote(peer).partition(":")
    return address if kind in ("ipv4", "ipv6") else peer


def new_request_id() -> str:
    """Return an id for a request without one."""
    return uuid.uuid4().hex


async def prompt_messages(requests: AsyncIterator[T], idle_seconds: float) -> AsyncIterator[T]:
    """Yield the messages of a client's stream; raise ``Unavailable`` (STREAM_IDLE) on silence.

    A client that stops sending without closing would otherwise keep its upload locked forever.
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
                "STREAM_IDLE", f"received no message for {idle_seconds:g} seconds: start again"
            ) from None
        yield message


class Uploads:
    """Open uploads and imports, limited in number and in idle time."""

    def __init__(self, settings: Settings) -> None:
        self._open = OpenStreams(settings.max_open_uploads, "uploads and imports")
        self._idle_seconds = settings.upload_idle_seconds

    @contextmanager
    def open(self, requests: AsyncIterator[T]) -> Iterator[AsyncIterator[T]]:
        """Count an upload for the duration of the block and yield its messages.

        Raises:
            ResourceExhausted: Too many uploads are open (TOO_MANY_STREAMS).
            Unavailable: While reading: the client is silent for too long (STREAM_IDLE).
        """
        with self._open.open():
            yield prompt_messages(requests, self._idle_seconds)


class UploadMessage(Protocol):
    """Message of an import, with a header or data as its ``payload``."""

    @property
    def data(self) -> bytes:
        """Next bytes of the import."""

    def WhichOneof(self, oneof_group: Any) -> Any:
        """Return the field of ``payload`` that is set."""


async def upload_data(requests: AsyncIterator[UploadMessage]) -> AsyncIterator[bytes]:
    """Yield the data after an import's header; raise ``InvalidInput`` for any other message."""
    async for request in requests:
        if request.WhichOneof("payload") == "header":
            raise InvalidInput.field("header", "must be in the first message only")
        if len(request.data) > CHUNK_BYTES:
            raise InvalidInput.field(
                "data", f"has {len(request.data)} bytes, at most {CHUNK_BYTES} in one message"
            )
        yield request.data
