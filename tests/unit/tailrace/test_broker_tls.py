"""TLS to brokers: a certificate counts for its own host, whichever program connects."""

from __future__ import annotations

import runpy
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import kombu.exceptions
import pytest
from flower.views import monitor

from services.adapters.broker import Broker
from tailrace.broker_tls import broker_tls
from tailrace.formats.broker import broker_problem
from tailrace.tls_files import TlsFiles
from tests.servers.certificates import write_tls
from tests.servers.node import Process, free_port, port_open, wait_until
from tests.servers.rabbitmq import RabbitMQ
from workers.app import make_app
from workers.settings import Settings as WorkerSettings

Connect = Callable[[str, TlsFiles], Any]


def relay(url: str, files: TlsFiles) -> Any:
    broker = Broker(url, timeout=5, files=files)
    return broker._app.connection_for_write()


def worker(url: str, files: TlsFiles) -> Any:
    settings = WorkerSettings(broker_url=url, broker_ca_file=files.ca)
    return make_app(settings, "/private/control.sock").connection_for_read()


def flower(url: str, files: TlsFiles) -> Any:
    app: Any = celery.Celery("flower", set_as_current=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILRACE_BROKER_URL", url)
        patch.setenv("TAILRACE_BROKER_CA_FILE", str(files.ca or ""))
        patch.setenv("FLOWER_BASIC_AUTH", "operator:secret")
        patch.setattr(celery, "current_app", app)
        patch.setattr(monitor.Metrics, "get", monitor.Metrics.get)
        runpy.run_path(str(Path(__file__).parents[3] / "deploy/flower/flowerconfig.py"))
    return app.connection_for_read()


PROGRAMS = (relay, worker, flower)


def outcome(connection: Any) -> str:
    """Return "connected", or the problem as the programs report it."""
    url = connection.as_uri()
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        connection.default_channel.close()
    except (OSError, kombu.exceptions.OperationalError) as error:
        return broker_problem(error, url).text
    finally:
        connection.release()
    return "connected"


@pytest.fixture(scope="module")
def tls_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, TlsFiles]]:
    """Port and certificate of a Redis with TLS, whose protocol is Valkey's."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("a redis-server with TLS is missing: apt-get install redis-server")
    folder = tmp_path_factory.mktemp("redis")
    files, port = write_tls(folder, "server", ("localhost",)), free_port()
    options = {
        "--port": "0",
        "--tls-port": str(port),
        "--tls-cert-file": str(files.certificate),
        "--tls-key-file": str(files.key),
        "--tls-ca-cert-file": str(files.ca),
        "--tls-auth-clients": "no",
        "--bind": "127.0.0.1",
        "--save": "",
        "--dir": str(folder),
    }
    argv = [binary, *(word for pair in options.items() for word in pair)]
    process = Process(argv, log=folder / "log")
    wait_until(lambda: port_open(port), "Redis", 10)
    yield port, files
    process.stop()


@pytest.mark.parametrize("connect", PROGRAMS)
def test_rabbitmq_is_accepted_under_the_name_in_its_certificate_alone(
    rabbitmq: RabbitMQ, connect: Connect, tmp_path: Path
) -> None:
    url = f"amqps://guest:guest@{{}}:{rabbitmq.tls_port}/%2F"
    assert outcome(connect(url.format("localhost"), rabbitmq.files)) == "connected"
    refusal = outcome(connect(url.format("127.0.0.1"), rabbitmq.files))
    assert "not trusted" in refusal
    assert "mismatch" in refusal
    stranger = write_tls(tmp_path, "server", ca=1)
    assert "not trusted" in outcome(connect(url.format("localhost"), stranger))
    assert "not trusted" in outcome(connect(url.format("localhost"), TlsFiles()))


@pytest.mark.parametrize("connect", PROGRAMS)
def test_valkey_is_accepted_under_the_name_in_its_certificate_alone(
    tls_valkey: tuple[int, TlsFiles], connect: Connect
) -> None:
    port, files = tls_valkey
    assert outcome(connect(f"rediss://localhost:{port}/0", files)) == "connected"
    refusal = outcome(connect(f"rediss://127.0.0.1:{port}/0", files))
    assert "not trusted" in refusal
    assert "mismatch" in refusal
    assert "not trusted" in outcome(connect(f"rediss://localhost:{port}/0", TlsFiles()))


def test_a_client_certificate_is_handed_to_either_driver(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "relay")
    amqp, valkey = (broker_tls(f"{scheme}://host/0", files) for scheme in ("amqps", "rediss"))
    assert amqp == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "host",
        "ca_certs": str(files.ca),
        "certfile": str(files.certificate),
        "keyfile": str(files.key),
    }
    assert valkey is not None
    assert valkey["ssl_certfile"] == str(files.certificate)
    assert valkey["ssl_check_hostname"]


def test_files_without_tls_are_a_mistake(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "relay")
    assert broker_tls("amqp://host/", TlsFiles()) is None
    with pytest.raises(ValueError, match="amqps:// or rediss://"):
        broker_tls("amqp://host/", files)
    with pytest.raises(ValueError, match="must be set together"):
        broker_tls("amqps://host/", TlsFiles(None, files.certificate))
