"""TLS to the broker: the options by which kombu's drivers verify the certificate and its host.

Without them the drivers trust too much: py-amqp does not check the host name of ``amqps://``, and
kombu verifies nothing for ``rediss://``. The drivers read the files at each connection, so that
replaced files count from the next one.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tailrace.tls_files import TlsFiles

VARIABLES = ("TAILRACE_BROKER_CA_FILE", "TAILRACE_BROKER_CERT_FILE", "TAILRACE_BROKER_KEY_FILE")
"""Variables of the files: authorities to trust, the client's certificate, and its key."""

_AMQP = "amqps"
_VALKEY = "rediss"


def broker_tls(url: str, files: TlsFiles) -> dict[str, Any] | None:
    """Return Celery's ``broker_use_ssl`` for a broker; ``None`` for one without TLS.

    Args:
        url: URL in the form of :func:`tailrace.formats.service_url.broker_url`.
        files: Authorities to trust (default: the system's), and the client's certificate and key.

    Raises:
        ValueError: Files are given for a URL without TLS, or one of certificate and key is missing.
    """
    parts = urlsplit(url)
    if (files.certificate is None) != (files.key is None):
        raise ValueError(f"{VARIABLES[1]} and {VARIABLES[2]} must be set together")
    if parts.scheme not in (_AMQP, _VALKEY):
        if files != TlsFiles():
            raise ValueError(
                f"{', '.join(VARIABLES)} need a TAILRACE_BROKER_URL with {_AMQP}:// or {_VALKEY}://"
            )
        return None
    paths = {
        "ca_certs": files.ca and str(files.ca),
        "certfile": files.certificate and str(files.certificate),
        "keyfile": files.key and str(files.key),
    }
    if parts.scheme == _AMQP:
        # py-amqp checks the host name if, and only if, it is given one.
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname, **paths}
    return {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        **{f"ssl_{name}": path for name, path in paths.items()},
    }


def named_files(variables: Mapping[str, str]) -> TlsFiles:
    """Return the files that an environment names."""
    names = map(variables.get, VARIABLES)
    return TlsFiles(*(Path(name) if name else None for name in names))
