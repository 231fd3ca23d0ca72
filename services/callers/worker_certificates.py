"""Certificates of workers: the identity in each, its revocation, and its expiry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import structlog

from services.callers.tokens import OpenCall
from services.certificates import WARNING_SECONDS, day
from services.domain.access.worker_binding import WorkerBinding
from services.domain.errors import Unauthenticated, Unavailable
from services.domain.names import id_violations
from services.metrics import Metrics
from services.storage.rows.access import certificates as store
from services.usecases.context import Context

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 4.0
"""Seconds between two readings of the revocations. One must reach every replica within 10
seconds."""

_REPEAT_SECONDS = 86_400.0
"""Seconds between two warnings about the same worker."""

_PEM = "x509_pem_cert"
"""Key of the client's certificate in gRPC's authentication context."""


@dataclass(frozen=True)
class WorkerCertificate:
    """Content of a worker's certificate that counts here."""

    binding: WorkerBinding
    """The common name, and the organizational units as pools, if there are any."""
    start: datetime
    """Time from which the certificate is valid, which is the time at which it was made."""
    expiry: float
    """Time of its expiry, in seconds since the epoch."""

    @property
    def worker_id(self) -> str:
        """Worker that the certificate belongs to."""
        return self.binding.worker_id


class WorkerCertificates:
    """Certificates on the workers' listener, as this replica sees them."""

    def __init__(self, context: Context, metrics: Metrics) -> None:
        self._context = context
        self._metrics = metrics
        self._revoked: dict[str, datetime] = {}
        self._open: dict[OpenCall, WorkerCertificate] = {}
        self._next_warning: dict[str, float] = {}

    async def load(self) -> None:
        """Read the revocations. Raises ``Unavailable``."""
        async with self._context.database.read() as conn:
            self._revoked = await store.read_all(conn)

    async def run(self) -> None:
        """Follow the revocations, and end the streams of revoked certificates."""
        while not await self._context.shutdown.sleep(LOOK_SECONDS):
            try:
                await self.load()
            except Unavailable:
                # The health monitor reports the outage; the revocations read so far still count.
                continue
            for call, certificate in list(self._open.items()):
                if self._is_revoked(certificate):
                    _log.warning("a stream ends with its certificate", worker=certificate.worker_id)
                    call.refuse(revoked_certificate(certificate.worker_id))

    def identify(self, connection: Mapping[str, Any]) -> WorkerCertificate:
        """Return the certificate of a connection, from gRPC's authentication context.

        Raises:
            Unauthenticated: It names no worker (WORKER_CERTIFICATE), or is revoked
                (CERTIFICATE_REVOKED).
        """
        (pem,) = connection.get(_PEM, ()) or (b"",)
        certificate = _read(pem)
        if certificate is None:
            raise Unauthenticated(
                "WORKER_CERTIFICATE",
                "the certificate's common name is not a worker's name (1-63 of a-z, 0-9, '-', a "
                "letter first): `tailrace certs worker NAME` makes one",
            )
        if self._is_revoked(certificate):
            raise revoked_certificate(certificate.worker_id)
        self._report_expiry(certificate)
        return certificate

    @contextmanager
    def watch(self, certificate: WorkerCertificate) -> Iterator[OpenCall]:
        """Watch the certificate of a stream's connection for the duration of the block."""
        call = OpenCall(asyncio.current_task())
        self._open[call] = certificate
        try:
            yield call
        finally:
            del self._open[call]

    def _is_revoked(self, certificate: WorkerCertificate) -> bool:
        revoke_time = self._revoked.get(certificate.worker_id)
        return revoke_time is not None and certificate.start <= revoke_time

    def _report_expiry(self, certificate: WorkerCertificate) -> None:
        name = certificate.worker_id
        self._metrics.worker_certificate_expiry.labels(name).set(certificate.expiry)
        now = time.monotonic()
        is_late = certificate.expiry - time.time() <= WARNING_SECONDS
        if is_late and now >= self._next_warning.get(name, 0.0):
            self._next_warning[name] = now + _REPEAT_SECONDS
            _log.warning(
                "the certificate of a worker expires soon",
                worker=name,
                expires=day(certificate.expiry),
            )


@lru_cache(maxsize=4096)
def _read(pem: bytes) -> WorkerCertificate | None:
    """Return the content of a certificate; ``None`` if it names no worker."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    if not pem:
        return None
    certificate = x509.load_pem_x509_certificate(pem)
    names = _texts(certificate.subject, NameOID.COMMON_NAME)
    pools = _texts(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if len(names) != 1 or id_violations("worker", names[0]):
        return None
    return WorkerCertificate(
        WorkerBinding(names[0], frozenset(pools) if pools else None),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc.timestamp(),
    )


def _texts(subject: Any, oid: Any) -> list[str]:
    return [str(attribute.value) for attribute in subject.get_attributes_for_oid(oid)]


def revoked_certificate(worker_id: str) -> Unauthenticated:
    """Return the error of a revoked certificate."""
    return Unauthenticated(
        "CERTIFICATE_REVOKED",
        f"the certificates of workers/{worker_id} that were made until now are revoked: "
        "`tailrace certs worker` makes a new one",
    )
