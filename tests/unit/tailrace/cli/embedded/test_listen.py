from __future__ import annotations

import socket
from typing import Any

import pytest
import typer

from tailrace.cli.embedded.listen import parse_address, require_free
from tailrace.cli.errors import CommandError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:7443", ("::1", 7443)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["nonsense", "", ":1", "host:", "host:x", "::1:7443", "a b:1"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not host:port"):
        parse_address(text)


def test_up_refuses_before_it_makes_anything(tailrace: Any, tmp_path: Any) -> None:
    data = tmp_path / "data"
    for listen, says in (("nonsense", "is not host:port"), ("127.0.0.1:70000", "out of range")):
        result = tailrace("up", "--listen", listen, "--data-dir", data)
        assert result.code == 2
        assert says in " ".join(result.err.split())
    foreign = tailrace("up", "--listen", "192.0.2.1:7443", "--data-dir", data)
    assert foreign.code == 4
    assert foreign.err == (
        "error: 192.0.2.1 is not an address of this machine: give one of its addresses "
        "with --listen\n"
    )
    everywhere = tailrace("up", "--listen", "0.0.0.0:0", "--data-dir", data)
    assert everywhere.code == 2
    assert "give --insecure if that is intended" in everywhere.err
    assert not data.exists()


def test_free_and_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(CommandError, match="is in use"):
            require_free(address)
    require_free(address)


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(typer.BadParameter, match="'nowhere' is not a known host"):
        require_free("nowhere:1")
