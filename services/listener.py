"""gRPC servers, each on one address: plaintext, TLS, or TLS with client certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio

from services.certificates import Certificates
from services.metrics import Metrics
from services.settings import Settings
from tailrace.tls_files import TlsFiles


class Listener:
    """One gRPC server.

    Args:
        name: Name in logs and metrics.
        address: ``host:port`` to listen on.
        files: TLS files, with ``ca`` if clients must present a certificate; ``None`` for plaintext.
        metrics: Metrics for the certificate's expiry.

    Raises:
        TlsFilesError: A certificate or key cannot be used.
    """

    def __init__(self, name: str, address: str, files: TlsFiles | None, metrics: Metrics) -> None:
        self.name = name
        self.certificates = None if files is None else Certificates(name, files, metrics)
        """Certificates of the listener; ``None`` for plaintext."""
        self._address = address
        self._server: grpc.aio.Server | None = None

    async def start(
        self,
        settings: Settings,
        interceptors: Sequence[Any],
        add_services: Callable[[grpc.aio.Server], None],
    ) -> str:
        """Listen and return the address, ``host:port``.

        Raises:
            OSError: The address is taken.
        """
        server = grpc.aio.server(interceptors=interceptors, options=_options(settings))
        add_services(server)
        try:
            if self.certificates is None:
                port = server.add_insecure_port(self._address)
            else:
                port = server.add_secure_port(self._address, self.certificates.credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        await server.start()
        self._server = server
        return f"{self._address.rpartition(':')[0]}:{port}"

    async def stop(self, grace: float) -> None:
        """Refuse new calls and end those that run after ``grace`` seconds."""
        if self._server is not None:
            await self._server.stop(grace)


def _options(settings: Settings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # Responses are kept below the limit of clients elsewhere.
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would silently share its connections.
        ("grpc.so_reuseport", 0),
        # Detect dead peers, and accept the keepalive pings of clients.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # New calls then need a new handshake; calls in progress finish on the old connection.
        ("grpc.max_connection_age_ms", round(1000 * settings.max_stream_seconds)),
    ]
