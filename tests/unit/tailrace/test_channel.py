from __future__ import annotations

import pytest

from tailrace.access import is_loopback
from tailrace.channel import DEFAULT_SERVER, server_address


def test_address_comes_from_argument_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAILRACE_SERVER", raising=False)
    assert server_address() == DEFAULT_SERVER
    monkeypatch.setenv("TAILRACE_SERVER", "plane:1")
    assert server_address() == "plane:1"
    assert server_address("other:2") == "other:2"
    assert server_address("unix:/run/t.sock") == "unix:/run/t.sock"


def test_urls_are_refused_with_the_right_form() -> None:
    with pytest.raises(ValueError, match="use 'plane:7443'"):
        server_address("http://plane:7443/")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:1"])
def test_loopback_is_told_from(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "plane:1"])
def test_addresses_that_others_reach(address: str) -> None:
    assert not is_loopback(address)
