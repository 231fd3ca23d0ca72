"""Certificates of the gRPC listeners: loaded, watched and replaced without a restart."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Any

import grpc
import structlog

from services.metrics import Metrics
from services.runtime.wakeups import Shutdown
from tailrace.tls_files import Pem, TlsFiles, TlsFilesError, Version

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""Seconds between two looks at the files."""

WARNING_SECONDS = 14 * 86_400
"""Time before the expiry of a certificate from which the log warns."""

_REPEAT_SECONDS = 86_400.0
"""Seconds between two warnings about the same certificate."""


class CertificateExpiredError(TlsFilesError):
    """Error of a certificate that has expired."""


class Certificates:
    """Certificates of one listener.

    The files are read here, outside of gRPC's callback, which only hands over what was checked: the
    earlier pair stays in use while the files are missing, half-written, expired or do not fit.

    Args:
        listener: Name of the listener in logs and metrics.
        files: Certificate and key; with ``ca``, clients must present a certificate of it.
        metrics: Metrics for the expiry.

    Raises:
        TlsFilesError: The files cannot be used.
    """

    def __init__(self, listener: str, files: TlsFiles, metrics: Metrics) -> None:
        self._listener = listener
        self._files = files
        self._metrics = metrics
        self._lock = threading.Lock()
        self._rejected: Version = ()
        self._version = files.version()
        self._expiry = 0.0
        self._next_warning = 0.0
        self._configuration = self._load()
        self._is_new = False

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of the listener, which follow the files while :meth:`run` runs."""
        # The stubs do not know that the callback may return None.
        take_new: Any = self._take_new
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            take_new,
            require_client_authentication=self._files.ca is not None,
        )

    async def run(self, shutdown: Shutdown) -> None:
        """Follow the files until the shutdown."""
        while True:
            await asyncio.to_thread(self.look)
            self._warn()
            if await shutdown.sleep(LOOK_SECONDS):
                return

    def look(self) -> None:
        """Load the files if they have changed."""
        version = self._files.version()
        if version in (self._version, self._rejected):
            return
        try:
            configuration = self._load()
        except TlsFilesError as error:
            self._rejected = version
            _log.error(
                "the changed certificate is not used",
                listener=self._listener,
                error=str(error),
            )
            return
        with self._lock:
            self._configuration = configuration
            self._is_new = True
        self._version = version
        self._rejected = ()
        self._next_warning = 0.0
        _log.info("certificate replaced", listener=self._listener, expires=day(self._expiry))

    def _take_new(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a configuration that gRPC has not seen; called before each handshake."""
        with self._lock:
            is_new, self._is_new = self._is_new, False
            return self._configuration if is_new else None

    def _load(self) -> grpc.ServerCertificateConfiguration:
        pem = self._files.load()
        expiry = _expiry(pem, str(self._files.certificate))
        if expiry <= time.time():
            raise CertificateExpiredError(
                f"{self._files.certificate} has expired on {day(expiry)}: replace it"
            )
        self._expiry = expiry
        self._metrics.certificate_expiry.labels(self._listener).set(expiry)
        return grpc.ssl_server_certificate_configuration(
            [(pem.key or b"", pem.certificate or b"")], root_certificates=pem.roots
        )

    def _warn(self) -> None:
        """Warn daily of a certificate that expires soon."""
        if self._expiry - time.time() > WARNING_SECONDS or time.monotonic() < self._next_warning:
            return
        self._next_warning = time.monotonic() + _REPEAT_SECONDS
        _log.warning(
            "a certificate expires soon",
            listener=self._listener,
            file=str(self._files.certificate),
            expires=day(self._expiry),
        )


def _expiry(pem: Pem, file: str) -> float:
    """Return the time, in seconds since the epoch, at which the first certificate expires."""
    try:
        from cryptography import x509
    except ImportError as error:
        raise TlsFilesError(
            'TLS needs the package cryptography: pip install "tailrace[server]"'
        ) from error
    try:
        chain = x509.load_pem_x509_certificates(pem.certificate or b"")
    except ValueError as error:
        # This library is stricter than OpenSSL, which has read the file before.
        raise TlsFilesError(f"{file} holds a malformed certificate: {error}") from error
    if not chain:
        raise TlsFilesError(f"{file} holds no certificate")
    return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)


def day(seconds: float) -> str:
    """Return the date of a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
