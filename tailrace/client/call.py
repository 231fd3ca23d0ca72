"""What a client shall do, apart from how: the four kinds of call.

A call knows its stub method and builds its requests; :mod:`tailrace.client.blocking` and
:mod:`tailrace.client.aio` carry it out. Cursors, pages and restarts are decided here, once.
"""

from __future__ import annotations

import inspect
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, ParamSpec, TypeAlias, TypeVar

import grpc
import grpc.aio

P = ParamSpec("P")
T = TypeVar("T")
Response = TypeVar("Response")
Item = TypeVar("Item")

DEFAULT_TIMEOUT = 30.0
"""Seconds that a unary call may take with all its retries."""

TRANSFER_TIMEOUT = 3600.0
"""Seconds that an upload may take with all its retries."""

CHUNK_BYTES = 256 * 1024
"""Bytes of an upload's content in one message."""

Channel: TypeAlias = grpc.Channel | grpc.aio.Channel


@dataclass(frozen=True)
class Unary(Generic[Response]):
    """One request, one response."""

    method: Callable[[Channel], grpc.UnaryUnaryMultiCallable[Any, Response]]
    request: Any


@dataclass
class Paged(Generic[Response, Item]):
    """A list method, page after page (AIP-158)."""

    method: Callable[[Channel], grpc.UnaryUnaryMultiCallable[Any, Response]]
    request: Any
    items: Callable[[Response], Sequence[Item]]
    limit: int | None = None
    """Most items wanted; ``None`` for all."""

    _taken: int = field(default=0, init=False)
    _done: bool = field(default=False, init=False)

    def next_page(self) -> Unary[Response] | None:
        """The call that fetches the next page; ``None`` when there is no more to fetch."""
        if self._done or (self.limit is not None and self._taken >= self.limit):
            return None
        return Unary(self.method, self.request)

    def accept(self, response: Any) -> Sequence[Item]:
        """The page's items, cut at the limit."""
        items = self.items(response)
        if self.limit is not None:
            items = items[: self.limit - self._taken]
        self._taken += len(items)
        self.request.page_token = response.next_page_token
        self._done = not response.next_page_token
        return items


@dataclass(frozen=True)
class Stream(Generic[Response, Item]):
    """A server stream that continues where it broke off.

    ``advance(request, response)`` moves the request behind the response and returns what the caller
    gets of it, so that the same request can be sent again at any time.
    """

    method: Callable[[Channel], grpc.UnaryStreamMultiCallable[Any, Response]]
    request: Any
    advance: Callable[[Any, Response], Sequence[Item]]
    resumes: bool = True
    """False when the server cannot continue: then only connecting is repeated."""


@dataclass(frozen=True)
class Upload(Generic[Response]):
    """A client stream; ``requests`` starts it from the beginning each time it is called."""

    method: Callable[[Channel], grpc.StreamUnaryMultiCallable[Any, Response]]
    requests: Callable[[], Iterator[Any]]


def opened(source: Path | bytes) -> BinaryIO:
    """What is uploaded, as an open file. Raises :class:`OSError`."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


class Restartable(Generic[T]):
    """The requests of an upload, from the beginning for each attempt.

    The first one is drawn by :meth:`restart` itself, so that a file that cannot be opened is the
    caller's ``OSError``. gRPC hides what a request iterator raises later; ``failure`` keeps it.
    """

    def __init__(self, requests: Callable[[], Iterator[T]]) -> None:
        self._requests = requests
        self.failure: OSError | None = None
        """What broke the iteration, if anything did."""

    def restart(self) -> Iterator[T]:
        """The requests once more. Raises ``OSError``."""
        requests = self._requests()
        return self._guarded(next(requests), requests)

    def _guarded(self, first: T, rest: Iterator[T]) -> Iterator[T]:
        yield first
        try:
            yield from rest
        except OSError as error:
            self.failure = error
            raise


def resource(collection: str, name: str) -> str:
    """``runs/demo`` for both ``demo`` and ``runs/demo``."""
    return name if "/" in name else f"{collection}/{name}"


def new_request_id() -> str:
    """A fresh request id: makes one logical call repeatable (AIP-155)."""
    return str(uuid.uuid4())


def as_method(build: Callable[P, object], method: Callable[..., T]) -> Callable[..., T]:
    """Give a client's method the name, documentation and parameters of its call builder."""
    method.__name__ = method.__qualname__ = build.__name__
    method.__doc__ = build.__doc__
    signature = inspect.signature(build)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[itself, *signature.parameters.values()],
        return_annotation=inspect.Signature.empty,
    )
    return method
