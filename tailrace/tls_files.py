"""PEM files of TLS: roots to trust, and a certificate chain with its private key.

Files are read as one consistent set. A tool that renews certificates writes them one after the
other, so that a reader may find a new certificate with an old key, or half a file.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tailrace.private_file import exposure, file_version

Version: TypeAlias = tuple[tuple[int, int, int], ...]
"""Value that differs once a file has changed."""

_MAX_BYTES = 1024 * 1024


class TlsFilesError(ValueError):
    """Error of unusable TLS files; the message names the file and the problem."""


@dataclass(frozen=True)
class Pem:
    """Content of a set of TLS files."""

    roots: bytes | None = None
    """Certificates of the authorities to trust."""
    certificate: bytes | None = None
    """Certificate, followed by those of intermediate authorities."""
    key: bytes | None = None
    """Private key of the certificate, without a passphrase."""


@dataclass(frozen=True)
class TlsFiles:
    """Paths of a set of TLS files; a missing path leaves that part out."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def version(self) -> Version:
        """Return a value that changes with the files; of a missing file, zeros."""
        return tuple(file_version(path) for path in (self.ca, self.certificate, self.key) if path)

    def load(self) -> Pem:
        """Return the content of all files, once it is checked that they fit together.

        Raises:
            TlsFilesError: A file is missing, open to others, not PEM, or changed meanwhile; or the
                key is not that of the certificate.
        """
        before = self.version()
        if self.key is not None:
            _require_private(self.key)
        pem = Pem(_read(self.ca), _read(self.certificate), _read(self.key))
        if self.ca is not None:
            _check_roots(self.ca)
        if self.certificate is not None and self.key is not None:
            _check_pair(self.certificate, self.key)
        # The checks open the files again: what they saw must be what was read.
        if self.version() != before:
            raise TlsFilesError(f"{self._names()}: the files are being written")
        return pem

    def _names(self) -> str:
        return ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise TlsFilesError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise TlsFilesError(f"{path} is not a PEM file: it has more than {_MAX_BYTES} bytes")
    return content


def _require_private(path: Path) -> None:
    try:
        problem = exposure(path, os.stat(path))  # noqa: PTH116 - the result is what is checked
    except OSError as error:
        raise TlsFilesError(f"cannot read {path}: {error.strerror}") from error
    if problem:
        raise TlsFilesError(f"the private key {problem}")


def _check_roots(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise TlsFilesError(
            f"{path} must hold certificates of authorities in PEM form: {_reason(error)}"
        ) from error


def _check_pair(certificate: Path, key: Path) -> None:
    def refuse_passphrase() -> str:
        raise TlsFilesError(f"the private key {key} must have no passphrase")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=refuse_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFilesError(f"{key} is not the private key of {certificate}") from error
        raise TlsFilesError(
            f"{certificate} and {key} must be a certificate and its private key in PEM form: "
            f"{_reason(error)}"
        ) from error
    except OSError as error:
        raise TlsFilesError(f"cannot read {certificate} and {key}: {error.strerror}") from error


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error.strerror or error).replace("_", " ").lower()
