"""HTTP server of Prometheus' ``/metrics``: plaintext or TLS, open or with a bearer token.

Prometheus' own server reads its certificate once, and makes handshakes in the thread that accepts
connections, so that one silent client would stop all others.
"""

from __future__ import annotations

import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from tailrace.environment import read_token
from tailrace.private_file import FollowedSecret
from tailrace.tls_files import TlsFiles, TlsFilesError, Version
from tailrace.worker_token import SCHEME

_log = logging.getLogger(__name__)

CONNECTION_SECONDS = 10.0
"""Longest silence of a client, in its handshake as well."""


class MetricsServer:
    """Server of a registry, in separate threads.

    Args:
        registry: Metrics to serve.
        host: Address to listen on.
        port: Port, or 0 for one that the system chooses.
        tls: Certificate and key, with ``ca`` if clients must present a certificate of it; ``None``
            for plaintext. The files are read again when they change.
        token: File with the token that clients must present; ``None`` for none.

    Raises:
        OSError: The port is taken.
        ValueError: A file cannot be used.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        *,
        tls: TlsFiles | None = None,
        token: Path | None = None,
    ) -> None:
        app: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)
        secret = None if token is None else FollowedSecret(token, read_token)
        context = None if tls is None else _FollowedContext(tls)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = _Server(family, (host, port), context)
        self._server.set_app(app if secret is None else _guarded(app, secret))
        self.port = int(self._server.server_port)
        """Port that it listens on."""
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), daemon=True, name="metrics"
        )
        thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _FollowedContext:
    """TLS context that follows its files; an unusable change leaves the earlier one in use."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._version = files.version()
        self._context = self._load()

    def current(self) -> ssl.SSLContext:
        """Return the context for the next connection."""
        with self._lock:
            version: Version = self._files.version()
            if version != self._version:
                self._version = version
                try:
                    self._context = self._load()
                except (TlsFilesError, OSError) as error:
                    _log.error("the changed certificate of /metrics is not used: %s", error)
            return self._context

    def _load(self) -> ssl.SSLContext:
        self._files.load()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self._files.certificate is not None:
            context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.ca is not None:
            context.load_verify_locations(self._files.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class _Handler(WSGIRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Log nothing: Prometheus calls every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int],
        context: _FollowedContext | None,
    ) -> None:
        self.address_family = family
        self._context = context
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection, in its own thread, after its handshake."""
        request.settimeout(CONNECTION_SECONDS)
        if self._context is None:
            super().finish_request(request, client_address)
            return
        with self._context.current().wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Log a failed connection: a scan, a client without TLS or certificate, a silent one."""
        _log.debug("a connection to /metrics failed", exc_info=True, extra={"peer": client_address})


def _guarded(
    app: Callable[..., Iterable[bytes]], secret: FollowedSecret
) -> Callable[..., Iterable[bytes]]:
    """Return an application that answers only calls with the token."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        text = str(environ.get("HTTP_AUTHORIZATION", ""))
        if hmac.compare_digest(text.encode(), f"{SCHEME}{secret.value}".encode()):
            return app(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return [b"a bearer token is required\n"]

    return application
