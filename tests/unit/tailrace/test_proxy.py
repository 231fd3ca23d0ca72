from __future__ import annotations

from typing import Any

import pytest

from tailrace import errors
from tailrace.proxy import proxy_of
from tailrace.retry import RetryPolicy
from tests.servers.http_front import forward_proxy
from tests.servers.node import free_port

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "server",
    [
        "localhost:7443",
        "LOCALHOST:7443",
        "db.localhost:1",
        "127.0.0.1:7443",
        "127.8.9.1:7443",
        "[::1]:7443",
        "::1",
        "[::ffff:127.0.0.1]:7443",
        "0.0.0.0:7443",
        "[::]:7443",
        "dns:///localhost:7443",
        "ipv4:127.0.0.1:7443",
        "unix:/run/t.sock",
    ],
)
def test_this_machine_needs_no_proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_of(server) is None


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("http_proxy", "http://proxy:3128"),
        ("https_proxy", "http://user:secret@proxy:3128/"),
        ("grpc_proxy", "http://proxy:3128"),
    ],
)
def test_other_servers_are_reached_through_the_proxy(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proxy_of("plane.example:7443") is None
    monkeypatch.setenv(variable, url)
    assert proxy_of("plane.example:7443") == "proxy:3128"


@pytest.mark.parametrize("url", ["proxy:3128", "https://proxy:3128", "socks5://proxy:1080", ""])
def test_proxies_that_grpc_does_not_take_are_not_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", url)
    assert proxy_of("plane.example:7443") is None


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY", "no_grpc_proxy"])
@pytest.mark.parametrize(
    ("exceptions", "server"),
    [
        ("*", "plane.example:7443"),
        ("other, plane.example", "Plane.example:7443"),
        (".example", "plane.example:7443"),
        ("*.example", "plane.example:7443"),
        ("example", "plane.example:7443"),
        ("plane.example:7443", "plane.example:7443"),
        ("10.1.0.0/16", "10.1.2.3:7443"),
        ("10.1.2.3", "10.1.2.3:7443"),
        ("[fd00::1]", "[fd00::1]:7443"),
    ],
)
def test_exceptions_count_in_both_cases(
    variable: str, exceptions: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv(variable, exceptions)
    assert proxy_of(server) is None


@pytest.mark.parametrize("exceptions", ["", "ample", "10.1.0.0/33", "plane", "10.2.0.0/16"])
def test_other_exceptions_change_nothing(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert proxy_of("plane.example:7443") == "proxy:3128"
    assert proxy_of("10.1.2.3:7443") == "proxy:3128"


def test_a_server_on_this_machine_is_asked_in_spite_of_a_proxy(
    plane: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy(403) as (port, targets):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with connect(plane.address) as client:
            list(client.list_runs())
    assert targets == []


def test_errors_name_the_server_and_the_proxy(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy(403) as (port, targets):
        monkeypatch.setenv("http_proxy", f"http://u:secret@127.0.0.1:{port}")
        assert failure(connect) == (
            f"the proxy 127.0.0.1:{port} refuses the connection to plane.example:7443 (HTTP 403); "
            "no_proxy lists servers to reach without it"
        )
    assert targets == ["plane.example:7443"]
    port = free_port()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    assert failure(connect) == (
        f"no server answers at plane.example:7443 through the proxy 127.0.0.1:{port} "
        "(no_proxy turns it off): the connection was refused"
    )


def failure(connect: Any) -> str:
    with (
        connect("plane.example:7443", retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(errors.Unavailable) as raised,
    ):
        client.get_run("demo")
    return str(raised.value)
