"""Access of a client to a control plane: TLS files and a token."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from tailrace.tls_files import TlsFiles
from tailrace.worker_token import HEADER, SCHEME, Metadata

INSECURE_VARIABLE = "TAILRACE_INSECURE"
"""Variable that lets a token travel in plaintext to another machine."""


class AccessError(ValueError):
    """Error of settings with which a server must not be called; names the way out."""


PROJECT_HEADER = "tailrace-project"
"""Metadata key of the project that a call is about."""


@dataclass(frozen=True)
class Access:
    """TLS files, token and project of a client; without them, plaintext and anonymous."""

    tls: TlsFiles | None = None
    """Files for TLS, where no ``ca`` means the public authorities; ``None`` for plaintext."""
    credentials: grpc.ChannelCredentials | None = None
    """Ready-made credentials in place of files."""
    token: Callable[[], str] | None = None
    """Function that returns the token of the next call."""
    insecure: bool = False
    """True to send the token in plaintext to another machine, too."""
    project: str = ""
    """Project of the calls; empty for that of the token, else ``default``."""

    @property
    def has_metadata(self) -> bool:
        """True if calls carry metadata."""
        return self.token is not None or bool(self.project)

    def metadata(self) -> Metadata:
        """Return the metadata of the next call."""
        token = () if self.token is None else ((HEADER, f"{SCHEME}{self.token()}"),)
        return (*token, (PROJECT_HEADER, self.project)) if self.project else token

    def require_protection(self, server: str) -> None:
        """Check that the token does not travel in plaintext beyond this machine.

        Raises:
            AccessError: It would.
        """
        is_encrypted = self.tls is not None or self.credentials is not None
        if self.token is None or is_encrypted or self.insecure or is_loopback(server):
            return
        raise AccessError(
            f"the token would be sent to {server} in plaintext: set TAILRACE_CA_FILE (or "
            "TAILRACE_TLS=true for a certificate of a public authority), or "
            f"{INSECURE_VARIABLE}=true if the network between is protected in another way"
        )


PLAINTEXT = Access()
"""Access without TLS and token."""


def is_loopback(address: str) -> bool:
    """Return True if ``host:port`` can be reached from this machine alone."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
