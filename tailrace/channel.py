"""gRPC channels to the control plane: address, access, limits, keepalive."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import grpc
import grpc.aio

from tailrace.access import PLAINTEXT, Access
from tailrace.connection import AuthorizedAioChannel, ClosableChannel, Connection
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


def connect(server: str, access: Access = PLAINTEXT) -> ClosableChannel:
    """Return a blocking channel.

    A stub's method stays on the connection on which it was looked up: a program that lives long
    makes a new stub for each call, and so follows TLS files that change.

    Raises:
        AccessError: The token would travel in plaintext.
        TlsFilesError: The TLS files cannot be used.
    """
    access.require_protection(server)

    def opened(credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
        if credentials is None:
            return grpc.insecure_channel(server, options=_options(server))
        return grpc.secure_channel(server, credentials, options=_options(server))

    return ClosableChannel(Connection(access, opened), access)


def connect_aio(server: str, access: Access = PLAINTEXT) -> grpc.aio.Channel:
    """Return an asyncio channel, bound to the running loop; otherwise as :func:`connect`."""
    access.require_protection(server)

    def opened(credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(server, options=_options(server))
        return grpc.aio.secure_channel(server, credentials, options=_options(server))

    if access.tls is None and not access.has_metadata:
        return opened(access.credentials)
    return AuthorizedAioChannel(Connection(access, opened), access)


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
