"""Network access of judges: public addresses and listed places, at checked addresses only."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from tailrace.formats.endpoint_access import EndpointAccess, EndpointKey
from tests.servers.chat import ChatServer, Say, chat_server
from tests.unit.training.judges.candidates import candidate, judge_of
from training.errors import ConfigError
from training.judges import JudgeError, TextVerdict
from training.judges.backends.network import JudgeNetwork, PlaceRefusedError, is_public

GRADE = Say('{"score": 9, "reason": "r"}')
KEY = EndpointKey("TAILRACE_JUDGE_KEY_A", "judge.example:443", "sk-1")


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"),
        *("2002:808:808::1", "2001:0:808:808::f7f7:f7f7"),
    ],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.2.1", "198.18.0.1"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255"),
        # Python's own table counts these as global.
        *("192.0.0.192", "192.0.0.9", "192.88.99.1", "168.63.129.16", "3fff::1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "2001:db8::1", "64:ff9b:1::1"),
        # IPv4 within IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP.
        *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a00:1::"),
        *("2001:0:808:808::80ff:fffe", "2001:0:a00:1::f7f7:f7f7"),
        *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1"),
    ],
)
def test_addresses_that_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Addresses of names, one list per query; the last one stays."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **options: Any) -> Any:
        if host not in answers:
            return real(host, port, *rest, **options)
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        resolved = (real(address, port, type=socket.SOCK_STREAM) for address in addresses)
        return [info for infos in resolved for info in infos]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of connections, all of which fail."""
    addresses: list[str] = []

    def connect(self: object, host: str, *_: object, **__: object) -> None:
        addresses.append(host)
        raise httpcore2.ConnectError("no listener")

    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect)
    return addresses


def rubric(url: str, access: EndpointAccess | None = None, **changes: Any) -> Any:
    endpoint = {"url": url, "model": "m", "max_retries": 0, "timeout": "20s"} | changes
    options = {"rubric": "r", "backend": {"endpoint": endpoint}}
    return judge_of({"name": "llm_rubric", "llm_rubric": options}, access)


def ask(judge: Any) -> TextVerdict | JudgeError:
    (outcome,) = judge.judge_all([candidate("five")])
    return outcome  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8443/v1",
        "https://127.1/v1",
        "https://2130706433/v1",
        "https://0x7f.0.0.1/v1",
        "https://[::1]/v1",
        "https://[::ffff:127.0.0.1]/v1",
        "https://169.254.169.254/latest",
        "https://localhost/v1",
        "https://inside.example/v1",
        "https://partly.example/v1",
        "http://8.8.8.8/v1",
    ],
)
def test_a_place_out_of_reach_fails_the_stage_at_once(
    url: str, names: dict[str, list[list[str]]], connections: list[str]
) -> None:
    names["inside.example"] = [["10.0.0.1"]]
    names["partly.example"] = [["8.8.8.8", "10.0.0.1"]]
    with pytest.raises(ConfigError, match="tailrace up --allow-endpoint") as caught:
        rubric(url)
    assert "10.0.0.1" not in str(caught.value), (
        "an internal name server's answers are not disclosed"
    )
    assert not connections


def test_the_connection_goes_to_the_address_that_was_checked(
    names: dict[str, list[list[str]]], connections: list[str]
) -> None:
    """A name server that changes its answer gets no connection to the second one."""
    names["judge.example"] = [["8.8.8.8"], ["8.8.4.4", "1.1.1.1"], ["127.0.0.1"]]
    judge = rubric("https://judge.example/v1")
    assert "ConnectError: no listener" in str(ask(judge))
    assert connections == ["8.8.4.4", "1.1.1.1"]
    refused = ask(judge)
    assert isinstance(refused, JudgeError)
    assert "judge.example:443 is not at a public address" in str(refused)
    assert connections == ["8.8.4.4", "1.1.1.1"]


def test_a_name_without_an_address_is_an_error_that_may_pass(
    names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    outcome = ask(rubric("https://judge.example/v1"))
    assert "ConnectError: judge.example has no address: try again" in str(outcome)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for judge.example, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=judge.example"),
            *("-addext", "subjectAltName=DNS:judge.example"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "certificate.pem").read_text() + (folder / "key.pem").read_text())
    return both


@pytest.fixture
def secure(
    certificate: Path, names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ChatServer]:
    """A server certified as judge.example, which is also at other.example's address."""
    names["judge.example"] = names["other.example"] = [["127.0.0.1"]]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with chat_server(lambda *_: GRADE, certificate=certificate) as server:
        yield server


def port_of(server: ChatServer) -> int:
    return int(server.place.rpartition(":")[2])


def test_the_name_stays_in_the_header_and_in_the_certificates_check(secure: ChatServer) -> None:
    place = f"judge.example:{port_of(secure)}"
    key = EndpointKey(KEY.name, place, KEY.secret)
    judge = rubric(f"https://{place}/v1", EndpointAccess([place], [key]), api_key_env=KEY.name)
    assert isinstance(ask(judge), TextVerdict)
    assert secure.names == ["judge.example"]
    assert secure.requests[0]["headers"]["Host"] == place
    assert secure.requests[0]["headers"]["Authorization"] == "Bearer sk-1"


def test_a_server_with_another_names_certificate_gets_nothing(secure: ChatServer) -> None:
    place = f"other.example:{port_of(secure)}"
    outcome = ask(rubric(f"https://{place}/v1", EndpointAccess([place])))
    assert "certificate" in str(outcome)
    assert not secure.requests


@pytest.fixture
def proxy() -> Iterator[Callable[[int], tuple[str, list[bytes]]]]:
    """Return a maker of proxies that connect every request to one port."""
    closing: list[socket.socket] = []

    def make(port: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> tuple[str, list[bytes]]:
        listener = socket.create_server(("127.0.0.1", 0))
        closing.append(listener)
        requests: list[bytes] = []

        def pump(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65_536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        def serve() -> None:
            client, _ = listener.accept()
            requests.append(client.recv(65_536))
            client.sendall(answer)
            if b" 200 " not in answer:
                client.close()
                return
            target = socket.create_connection(("127.0.0.1", port))
            closing.extend([client, target])
            threading.Thread(target=pump, args=(target, client), daemon=True).start()
            pump(client, target)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}", requests

    yield make
    for connection in closing:
        connection.close()


def test_a_proxy_of_the_operator_is_asked_for_the_address_that_was_checked(
    secure: ChatServer, names: dict[str, list[list[str]]], proxy: Any
) -> None:
    names["judge.example"] = [["8.8.8.8"]]
    place, requests = proxy(port_of(secure))
    judge = rubric("https://judge.example/v1", EndpointAccess(proxy=place))
    assert isinstance(ask(judge), TextVerdict)
    assert requests[0].startswith(b"CONNECT 8.8.8.8:443 HTTP/1.1\r\nHost: 8.8.8.8:443\r\n")
    assert secure.names == ["judge.example"]


def test_the_answer_of_a_proxy_that_refuses_is_not_shown(
    secure: ChatServer, names: dict[str, list[list[str]]], proxy: Any
) -> None:
    names["judge.example"] = [["8.8.8.8"]]
    place, _ = proxy(port_of(secure), b"HTTP/1.1 403 inner secret\r\n\r\n")
    outcome = ask(rubric("https://judge.example/v1", EndpointAccess(proxy=place)))
    assert "refuses a tunnel" in str(outcome)
    assert "secret" not in str(outcome)


def test_no_certificate_check_is_left_out() -> None:
    assert httpcore2.default_ssl_context().verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(PlaceRefusedError):
        JudgeNetwork(EndpointAccess()).connect_tcp("127.0.0.1", 443)
