"""Metrics over TLS and with a token, on changing certificates."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from tailrace.metrics_server import MetricsServer
from tailrace.tls_files import TlsFiles
from tests.servers.certificates import pair, replace_pair, write_tls


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "Of a test.", registry=registry).set(42)
    return registry


def read(url: str, context: ssl.SSLContext | None = None, token: str = "") -> str:
    """The metrics, or the status of the refusal."""
    request = urllib.request.Request(url)  # noqa: S310 - of this test
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)


def test_readers_need_the_token(registry: CollectorRegistry, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("secret-of-prometheus\n")
    server = MetricsServer(registry, "127.0.0.1", 0, token=file)
    url = f"http://127.0.0.1:{server.port}/metrics"
    assert (read(url), read(url, token="other")) == ("401", "401")
    assert "answer 42" in read(url, token="secret-of-prometheus")
    file.write_text("the-next-secret\n")
    assert "answer 42" in read(url, token="the-next-secret")
    server.close()


def test_tls_follows_its_files_and_no_client_stops_another(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    files = write_tls(tmp_path, "server")
    server = MetricsServer(
        registry, "127.0.0.1", 0, tls=TlsFiles(None, files.certificate, files.key)
    )
    url = f"https://localhost:{server.port}/metrics"
    context = ssl.create_default_context(cafile=files.ca)
    with socket.create_connection(("127.0.0.1", server.port)):
        # This one makes no handshake.
        assert "answer 42" in read(url, context)
        assert files.key is not None
        files.key.write_text("broken")
        assert "answer 42" in read(url, context)
        replace_pair(files, pair("next"))
        assert "answer 42" in read(url, context)
        assert presented(server.port, context) == "next"
    server.close()


def presented(port: int, context: ssl.SSLContext) -> str:
    """The name in the certificate of a new connection."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert()
    assert certificate is not None
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate["subject"]  # type: ignore[assignment]
    return dict(field[0] for field in subject)["commonName"]


def test_readers_need_a_certificate(registry: CollectorRegistry, tmp_path: Path) -> None:
    files = write_tls(tmp_path, "server")
    reader = write_tls(tmp_path, "prometheus", ())
    server = MetricsServer(registry, "127.0.0.1", 0, tls=files)
    url = f"https://localhost:{server.port}/metrics"
    context = ssl.create_default_context(cafile=files.ca)
    with pytest.raises(OSError, match=r"(?i)certificate required|connection reset|eof|closed"):
        read(url, context)
    assert reader.certificate is not None
    context.load_cert_chain(reader.certificate, reader.key)
    assert "answer 42" in read(url, context)
    server.close()
