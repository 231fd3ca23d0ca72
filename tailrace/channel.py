"""gRPC channels to the control plane: address, limits, keepalive."""

from __future__ import annotations

import ipaddress
import os
from typing import Any, TypeAlias

import grpc
import grpc.aio

from tailrace.proxy import proxy_of

Channel: TypeAlias = grpc.Channel | grpc.aio.Channel
"""Channel of either flavour; generated stubs take both."""

SERVER_VARIABLE = "TAILRACE_SERVER"
"""Environment variable with the address of the control plane."""

DEFAULT_SERVER = "127.0.0.1:7443"
"""Default address of ``tailrace up``."""

MAX_RECEIVE_BYTES = 64 * 1024 * 1024
"""Largest message that is accepted; a page of the longest predictions fits."""

KEEPALIVE_SECONDS = 30
"""Silence after which a connection with open calls is probed."""


CLOSED = "the client is closed: open another one"
"""Message of the error for a call through a closed client."""


class ClosableChannel(grpc.Channel):
    """Blocking channel that refuses calls after :meth:`close`.

    grpcio 1.85 ends the process with SIGSEGV when a method of a closed channel is looked up.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._closed = False

    def _open(self) -> grpc.Channel:
        if self._closed:
            raise ValueError(CLOSED)
        return self._channel

    def subscribe(self, *args: Any, **options: Any) -> None:
        """See :class:`grpc.Channel`, like all methods here."""
        self._open().subscribe(*args, **options)

    def unsubscribe(self, *args: Any, **options: Any) -> None:  # noqa: D102
        self._channel.unsubscribe(*args, **options)

    def unary_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._open().unary_unary(*args, **options)

    def unary_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._open().unary_stream(*args, **options)

    def stream_unary(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._open().stream_unary(*args, **options)

    def stream_stream(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return self._open().stream_stream(*args, **options)

    def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> ClosableChannel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def server_address(server: str | None = None) -> str:
    """Return ``server``, else the value of ``TAILRACE_SERVER``, else :data:`DEFAULT_SERVER`.

    The address is ``host:port``, or another gRPC target such as ``unix:/path``.

    Raises:
        ValueError: The address is a URL, which gRPC would try to resolve as a host name.
    """
    address = server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    if address.startswith(("http:", "https:", "grpc:")):
        bare = address.split("://", 1)[-1].rstrip("/")
        raise ValueError(f"the server address must be host:port, not a URL: use {bare!r}")
    return address


def is_loopback(address: str) -> bool:
    """Return True if ``host:port`` can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def connect(server: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Return a blocking channel, plaintext without credentials."""
    if credentials is None:
        return ClosableChannel(grpc.insecure_channel(server, options=_options(server)))
    return ClosableChannel(grpc.secure_channel(server, credentials, options=_options(server)))


def connect_aio(
    server: str, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """Return an asyncio channel, bound to the running loop, plaintext without credentials."""
    if credentials is None:
        return grpc.aio.insecure_channel(server, options=_options(server))
    return grpc.aio.secure_channel(server, credentials, options=_options(server))


def _options(server: str) -> list[tuple[str, Any]]:
    return [
        ("grpc.enable_http_proxy", int(proxy_of(server) is not None)),
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        # The server decides what is too large to send.
        ("grpc.max_send_message_length", -1),
        # A peer that vanished is noticed after 40 s, even on a silent log stream.
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # gRPC's own back-off between connections grows to two minutes; retry.py must decide.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Calls are retried in one place; this leaves only the transparent retries of gRFC A6.
        ("grpc.service_config_disable_resolution", 1),
    ]
