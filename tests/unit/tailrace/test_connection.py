"""Channels over real TLS: whom they trust, what they send, and how they follow their files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tailrace import connection
from tailrace.access import Access, AccessError
from tailrace.channel import connect, connect_aio
from tailrace.errors import from_rpc
from tailrace.tls_files import TlsFiles, TlsFilesError
from tests.servers.certificates import pair, replace_pair, write_tls


class EchoServer:
    """A server that answers with the caller's certificate's name and token."""

    def __init__(self, files: TlsFiles | None, *, mutual: bool = False) -> None:
        self.server = grpc.server(ThreadPoolExecutor(8))
        self.server.add_generic_rpc_handlers((self,))  # type: ignore[arg-type]
        if files is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            pem = files.load()
            credentials = grpc.ssl_server_credentials(
                [(pem.key, pem.certificate)],
                root_certificates=pem.roots if mutual else None,
                require_client_auth=mutual,
            )
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.server.start()

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def service_name(self) -> str | None:
        return None

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            name = context.auth_context().get("x509_common_name", [b""])[0]
            token = dict(details.invocation_metadata).get("authorization", "")
            return b"|".join((request, name, token.encode()))

        def count(request: bytes, context: Any) -> Iterator[bytes]:
            while context.is_active():
                yield answer(request, context)
                time.sleep(0.02)

        if details.method == "/t/Count":
            return grpc.unary_stream_rpc_method_handler(count)
        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def server_files(tmp_path: Path) -> TlsFiles:
    return write_tls(tmp_path / "server", "server")


@pytest.fixture
def mutual(server_files: TlsFiles) -> Iterator[EchoServer]:
    server = EchoServer(server_files, mutual=True)
    yield server
    server.server.stop(0)


def answer(address: str, access: Access) -> str:
    with connect(address, access) as channel:
        return ask(channel)


def ask(channel: Any) -> str:
    response: bytes = channel.unary_unary("/t/Echo")(b"x", timeout=5)
    return response.decode()


async def answer_aio(address: str, access: Access) -> str:
    async with connect_aio(address, access) as channel:
        response: bytes = await channel.unary_unary("/t/Echo")(b"x", timeout=5)
        return response.decode()


def refusal(address: str, access: Access) -> str:
    with pytest.raises(grpc.RpcError) as error:
        answer(address, access)
    return str(from_rpc(error.value, address))


def test_certificate_and_token_reach_the_server(mutual: EchoServer, tmp_path: Path) -> None:
    access = Access(tls=write_tls(tmp_path / "client", "w1", ()), token=lambda: "tr_1_secret")
    assert answer(mutual.address, access) == "x|w1|Bearer tr_1_secret"
    assert asyncio.run(answer_aio(mutual.address, access)) == "x|w1|Bearer tr_1_secret"


def test_a_call_with_a_token_of_its_own_keeps_it(mutual: EchoServer, tmp_path: Path) -> None:
    access = Access(tls=write_tls(tmp_path / "client", "w1", ()), token=lambda: "tr_1_secret")
    with connect(mutual.address, access) as channel:
        call = channel.unary_unary("/t/Echo")
        assert call(b"x", metadata=(("authorization", "Bearer own"),)) == b"x|w1|Bearer own"


def test_a_server_that_wants_a_certificate_refuses_others(
    mutual: EchoServer, server_files: TlsFiles, tmp_path: Path
) -> None:
    anonymous = Access(tls=TlsFiles(server_files.ca))
    assert "it may require a client certificate" in refusal(mutual.address, anonymous)
    foreign = write_tls(tmp_path / "foreign", "w1", (), ca=1)
    wrong = Access(tls=TlsFiles(server_files.ca, foreign.certificate, foreign.key))
    assert "it may require a client certificate" in refusal(mutual.address, wrong)


@pytest.mark.parametrize(
    ("hosts", "days", "ca", "problem"),
    [
        (("plane.example",), 30, 0, "is for another host name"),
        (("localhost",), 0, 0, "is not trusted: it has expired"),
        (("localhost",), 30, 1, "is not trusted: its authority is not the one of"),
    ],
)
def test_a_server_that_cannot_be_trusted_gets_no_call(
    hosts: tuple[str, ...], days: int, ca: int, problem: str, tmp_path: Path
) -> None:
    server = EchoServer(write_tls(tmp_path / "server", "server", hosts, days, ca))
    trusted = write_tls(tmp_path / "client", "client")
    try:
        assert problem in refusal(server.address, Access(tls=TlsFiles(trusted.ca)))
    finally:
        server.server.stop(0)


def test_plaintext_and_tls_do_not_meet(server_files: TlsFiles) -> None:
    secure, plain = EchoServer(server_files), EchoServer(None)
    try:
        assert "it may expect TLS" in refusal(secure.address, Access())
        message = refusal(plain.address, Access(tls=TlsFiles(server_files.ca)))
        assert "it speaks plaintext" in message
    finally:
        secure.server.stop(0)
        plain.server.stop(0)


@pytest.mark.parametrize("make", [connect, connect_aio])
def test_a_token_does_not_leave_the_machine_in_plaintext(make: Any, tmp_path: Path) -> None:
    def token() -> str:
        return "tr_1_secret"

    for address in ("plane:7443", "10.0.0.1:7443", "dns:///plane:7443"):
        with pytest.raises(AccessError, match=r"TAILRACE_CA_FILE.*TAILRACE_INSECURE=true"):
            make(address, Access(token=token))
    assert Access(token=token, insecure=True).require_protection("plane:7443") is None
    assert Access(token=token).require_protection("127.0.0.1:1") is None
    assert Access(token=token).require_protection("unix:/run/t.sock") is None
    assert Access(token=token, tls=TlsFiles()).require_protection("plane:7443") is None


def test_new_files_open_a_new_connection_and_calls_in_progress_go_on(
    mutual: EchoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.0)
    files = write_tls(tmp_path / "client", "w1", ())
    states: list[grpc.ChannelConnectivity] = []
    with connect(mutual.address, Access(tls=files)) as channel:
        channel.subscribe(states.append)
        stream: Any = channel.unary_stream("/t/Count")(b"x", timeout=20)
        assert next(stream) == b"x|w1|"
        replace_pair(files, pair("w2", ()))
        states.clear()
        assert ask(channel) == "x|w2|"
        assert grpc.ChannelConnectivity.READY in states
        # Half-written: the certificate alone is a new one.
        assert files.certificate is not None
        files.certificate.write_bytes(pair("w3", ())[0])
        assert ask(channel) == "x|w2|"
        replace_pair(files, pair("w3", ()))
        assert ask(channel) == "x|w3|"
        assert next(stream) == b"x|w1|"
        stream.cancel()


async def test_an_asyncio_channel_follows_its_files_as_well(
    mutual: EchoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.0)
    files = write_tls(tmp_path / "client", "w1", ())
    async with connect_aio(mutual.address, Access(tls=files)) as channel:
        stream: Any = channel.unary_stream("/t/Count")(b"x", timeout=20)
        assert await stream.read() == b"x|w1|"
        replace_pair(files, pair("w2", ()))
        assert await channel.unary_unary("/t/Echo")(b"x", timeout=5) == b"x|w2|"
        assert await stream.read() == b"x|w1|"


def test_unusable_files_are_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(TlsFilesError, match="cannot read"):
        connect("localhost:1", Access(tls=TlsFiles(tmp_path / "none")))
