"""Connections to the control plane that carry a token and follow their TLS files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from tailrace.access import Access
from tailrace.tls_files import TlsFilesError, Version
from tailrace.worker_token import Metadata

_log = logging.getLogger(__name__)

C = TypeVar("C")

LOOK_SECONDS = 1.0
"""Seconds between two looks at the TLS files of a connection."""

CLOSED = "the client is closed: open another one"
"""Message of the error for a call through a closed client."""


class Connection(Generic[C]):
    """Connection that is opened again when its TLS files have changed.

    Calls in progress stay on the earlier connection, which is kept until the end: closing it would
    cancel them, and without calls it disconnects by itself.
    """

    def __init__(self, access: Access, connect: Callable[[grpc.ChannelCredentials | None], C]):
        """Open the connection.

        Raises:
            TlsFilesError: The TLS files cannot be used.
        """
        self._tls = access.tls
        self._credentials = access.credentials
        self._connect = connect
        self._lock = threading.Lock()
        self._version: Version = ()
        self._next_look = 0.0
        self._earlier: list[C] = []
        self._channel = self._opened()

    def current(self) -> C:
        """Return the connection for the next call."""
        if self._tls is not None and time.monotonic() >= self._next_look:
            with self._lock:
                self._look()
        return self._channel

    def all(self) -> list[C]:
        """Return this and all earlier connections."""
        return [*self._earlier, self._channel]

    def _look(self) -> None:
        if self._tls is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if self._tls.version() == self._version:
            return
        try:
            channel = self._opened()
        except TlsFilesError as error:
            # The files may be half-written: the connection with the old ones stays in use.
            _log.warning("the changed TLS files are not used: %s", error)
            return
        self._earlier.append(self._channel)
        self._channel = channel

    def _opened(self) -> C:
        if self._tls is None:
            return self._connect(self._credentials)
        version = self._tls.version()
        pem = self._tls.load()
        credentials = grpc.ssl_channel_credentials(pem.roots, pem.key, pem.certificate)
        channel = self._connect(credentials)
        self._version = version
        self._next_look = time.monotonic() + LOOK_SECONDS
        return channel


class AuthorizedMethod:
    """Method of a stub whose calls carry further metadata, such as a token."""

    def __init__(self, method: Any, metadata: Callable[[], Metadata]) -> None:
        self._method = method
        self._metadata = metadata

    def __call__(self, *args: Any, metadata: Any = None, **options: Any) -> Any:
        """Call the method; the call's own metadata takes precedence."""
        own = tuple(metadata or ())
        names = {name for name, _value in own}
        own += tuple(entry for entry in self._metadata() if entry[0] not in names)
        return self._method(*args, metadata=own, **options)


class ClosableChannel(grpc.Channel):
    """Blocking channel that refuses calls after :meth:`close`.

    grpcio 1.85 ends the process with SIGSEGV when a method of a closed channel is looked up.
    """

    def __init__(self, connection: Connection[grpc.Channel], access: Access) -> None:
        self._connection = connection
        self._access = access
        self._closed = False
        self._subscribers: list[tuple[Any, grpc.Channel]] = []

    def _open(self) -> grpc.Channel:
        if self._closed:
            raise ValueError(CLOSED)
        channel = self._connection.current()
        for position, (callback, subscribed) in enumerate(self._subscribers):
            if subscribed is not channel:
                subscribed.unsubscribe(callback)
                channel.subscribe(callback)
                self._subscribers[position] = (callback, channel)
        return channel

    def _method(self, method: Any) -> Any:
        has_metadata = self._access.has_metadata
        return AuthorizedMethod(method, self._access.metadata) if has_metadata else method

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """See :class:`grpc.Channel`, like all methods here."""
        channel = self._open()
        channel.subscribe(callback, try_to_connect)
        self._subscribers.append((callback, channel))

    def unsubscribe(self, callback: Any) -> None:  # noqa: D102
        for position, (subscriber, channel) in enumerate(self._subscribers):
            if subscriber is callback:
                channel.unsubscribe(callback)
                del self._subscribers[position]
                return

    def unary_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._open().unary_unary(*args, **options))

    def unary_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._open().unary_stream(*args, **options))

    def stream_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._open().stream_unary(*args, **options))

    def stream_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._open().stream_stream(*args, **options))

    def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self._closed = True
        for channel in self._connection.all():
            channel.close()

    def __enter__(self) -> ClosableChannel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AuthorizedAioChannel(grpc.aio.Channel):
    """Asyncio channel whose calls carry a token, and which follows its TLS files."""

    def __init__(self, connection: Connection[grpc.aio.Channel], access: Access) -> None:
        self._connection = connection
        self._access = access

    def _method(self, method: Any) -> Any:
        has_metadata = self._access.has_metadata
        return AuthorizedMethod(method, self._access.metadata) if has_metadata else method

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """See :class:`grpc.aio.Channel`, like all methods here."""
        return self._method(self._connection.current().unary_unary(*args, **options))

    def unary_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._connection.current().unary_stream(*args, **options))

    def stream_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._connection.current().stream_unary(*args, **options))

    def stream_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._method(self._connection.current().stream_stream(*args, **options))

    async def close(self, grace: float | None = None) -> None:
        """Close the connection; calls that still run after ``grace`` seconds are cancelled."""
        for channel in self._connection.all():
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: D102
        return self._connection.current().get_state(try_to_connect)

    async def wait_for_state_change(  # noqa: D102
        self, last_observed_state: grpc.ChannelConnectivity
    ) -> None:
        await self._connection.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:  # noqa: D102
        await self._connection.current().channel_ready()

    async def __aenter__(self) -> AuthorizedAioChannel:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
