"""Calls of a client, apart from their execution.

A call knows its stub method and builds its requests; :mod:`tailrace.client.blocking` and
:mod:`tailrace.client.aio` execute it. Cursors, pages and restarts are decided here, once.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import grpc
import grpc.aio

from tailrace.channel import Channel
from tailrace.transfer.steps import Job

Message = TypeVar("Message")
Response = TypeVar("Response")
Item = TypeVar("Item")
Response_co = TypeVar("Response_co", covariant=True)
Item_co = TypeVar("Item_co", covariant=True)

DEFAULT_TIMEOUT = 30.0
"""Seconds that a unary call may take with all its retries."""

UPLOAD_TIMEOUT = 3600.0
"""Seconds that an upload may take with all its retries."""

UPLOAD_CHUNK_BYTES = 256 * 1024
"""Bytes of an upload's content in one message."""


class ResponseCall(Generic[Response_co]):
    """A call with one response, which is returned or awaited."""


class ItemsCall(Generic[Item_co]):
    """A call that yields items as they arrive."""


@dataclass(frozen=True)
class Unary(ResponseCall[Response]):
    """One request, one response."""

    method: Callable[[Channel], grpc.UnaryUnaryMultiCallable[Any, Response]]
    request: Any


@dataclass(frozen=True)
class Upload(ResponseCall[Response]):
    """A client stream; each call of ``requests`` starts it from the beginning."""

    method: Callable[[Channel], grpc.StreamUnaryMultiCallable[Any, Response]]
    requests: Callable[[], Iterator[Any]]


@dataclass(frozen=True)
class Transfer(ResponseCall[Response]):
    """A job that moves files; each call of ``job`` starts it."""

    job: Callable[[], Job[Response]]


@dataclass
class Paged(ItemsCall[Item], Generic[Response, Item]):
    """A list method, page after page (AIP-158)."""

    method: Callable[[Channel], grpc.UnaryUnaryMultiCallable[Any, Response]]
    request: Any
    items: Callable[[Response], Sequence[Item]]
    limit: int | None = None
    """Maximum number of items; ``None`` for all."""

    _taken: int = field(default=0, init=False)
    _done: bool = field(default=False, init=False)

    def next_page(self) -> Unary[Response] | None:
        """Return the call that fetches the next page; ``None`` after the last one."""
        if self._done or (self.limit is not None and self._taken >= self.limit):
            return None
        return Unary(self.method, self.request)

    def accept(self, response: Any) -> Sequence[Item]:
        """Return the page's items, cut at the limit."""
        items = self.items(response)
        if self.limit is not None:
            items = items[: self.limit - self._taken]
        self._taken += len(items)
        self.request.page_token = response.next_page_token
        self._done = not response.next_page_token
        return items


@dataclass(frozen=True)
class Stream(ItemsCall[Item], Generic[Response, Item]):
    """A server stream that continues where it broke off.

    ``advance(request, response)`` moves the request past the response and returns the caller's
    items, so that the same request can be sent again at any time.
    """

    method: Callable[[Channel], grpc.UnaryStreamMultiCallable[Any, Response]]
    request: Any
    advance: Callable[[Any, Response], Sequence[Item]]
    resumes: bool = True
    """False if the server cannot continue: then only connecting is repeated."""
    timeout: float | None = None
    """Seconds that the stream may take with all its reconnections; ``None`` for no limit."""


@dataclass(frozen=True)
class Last(ResponseCall[Item]):
    """The last item of a stream that has at least one."""

    stream: Stream[Any, Item]
    overdue: str
    """Message of the error when the stream's timeout has passed."""


def time_left(timeout: float | None) -> Callable[[], float | None]:
    """Return a function that returns the seconds left of ``timeout``; ``None`` without one."""
    if timeout is None:
        return lambda: None
    deadline = time.monotonic() + timeout
    return lambda: max(0.0, deadline - time.monotonic())


def file_upload(
    message_type: Callable[..., Message],
    header: object,
    source: str | Path | bytes,
    on_bytes: Callable[[int], None] | None = None,
) -> Callable[[], Iterator[Message]]:
    """Return a function that starts the requests of an upload: ``header``, then the content.

    Args:
        message_type: Type of the requests.
        header: Content of the first request.
        source: Path of a file, or content.
        on_bytes: Function that is called with the number of bytes sent so far; a repeated upload
            begins at 0.
    """

    def requests() -> Iterator[Message]:
        with _open(source) as file:
            yield message_type(header=header)
            size = 0
            while chunk := file.read(UPLOAD_CHUNK_BYTES):
                if on_bytes is not None:
                    on_bytes(size)
                yield message_type(data=chunk)
                size += len(chunk)
            if on_bytes is not None:
                on_bytes(size)

    return requests


def resource(collection: str, name: str) -> str:
    """Return ``runs/demo`` for both ``demo`` and ``runs/demo``."""
    return name if "/" in name else f"{collection}/{name}"


def new_request_id() -> str:
    """Return a fresh request id: it makes one logical call repeatable (AIP-155)."""
    return str(uuid.uuid4())


def _open(source: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")
