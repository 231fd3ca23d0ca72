"""A certificate authority for a first start, and the certificates that it signs.

It suits a team that has no authority yet: one folder, keys on the P-256 curve, no revocation lists.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
"""Days for which an authority is valid."""

_CLOCK_SKEW = timedelta(minutes=5)
"""Age of a new certificate of a server, for hosts whose clocks are late."""


@dataclass(frozen=True)
class Authority:
    """Certificate authority with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls) -> Authority:
        """Return a new authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Tailrace CA")
        usage = _key_usage(sign_certificates=True)
        certificate = (
            _builder(name, name, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate_file: Path, key_file: Path) -> Authority:
        """Return a stored authority.

        Raises:
            OSError: A file cannot be read.
            ValueError: The files are not an authority that this program has made.
        """
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} is not a key on an elliptic curve")
        if key.public_key() != certificate.public_key():
            raise ValueError(f"{key_file} is not the private key of {certificate_file}")
        return cls(certificate, key)

    def issue(
        self, name: str, hosts: Sequence[str], days: int, units: Sequence[str] = ()
    ) -> tuple[bytes, bytes]:
        """Return a new certificate and its private key, PEM.

        Args:
            name: Common name: the identity of a worker, a description for a server.
            hosts: DNS names and addresses of a server; empty for a worker's certificate.
            days: Days for which it is valid, at most as long as the authority.
            units: Organizational units: the pools of a worker.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(
                _name(name, units),
                self.certificate.subject,
                key.public_key(),
                days,
                # A worker's certificate must not look older than a revocation before it.
                age=_CLOCK_SKEW if hosts else timedelta(),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return _pem(builder.sign(self.key, hashes.SHA256())), _key_pem(key)

    def pem(self) -> tuple[bytes, bytes]:
        """Return the authority's certificate and private key, PEM."""
        return _pem(self.certificate), _key_pem(self.key)


def write_pair(folder: Path, name: str, pair: tuple[bytes, bytes]) -> None:
    """Write ``name.crt`` and ``name.key`` (mode 0600), each as a whole. Raises ``OSError``."""
    certificate, key = pair
    _write(folder / f"{name}.key", key, 0o600)
    _write(folder / f"{name}.crt", certificate, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            os.fchmod(file.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    age: timedelta = _CLOCK_SKEW,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, units: Sequence[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
