from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services import __main__ as services_main
from services.settings import Settings


def test_the_environment_is_read_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_DATA_DIR", "/somewhere")
    monkeypatch.setenv("TAILRACE_LEASE_SECONDS", "12")
    monkeypatch.setenv("LEASE_SECONDS", "99")
    settings = Settings()
    assert settings.data_dir == Path("/somewhere")
    assert settings.lease_seconds == 12
    assert settings.heartbeat_interval == 4
    monkeypatch.setenv("TAILRACE_HEARTBEAT_SECONDS", "3")
    assert Settings().heartbeat_interval == 3


@pytest.mark.parametrize("listen", ["localhost", "localhost:x", "host:70000", "", "a b:1"])
def test_addresses_that_are_none_are_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        Settings(listen=listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::]:7443", "localhost:65535"])
def test_addresses_are_taken(listen: str) -> None:
    assert Settings(listen=listen, insecure=True).listen == listen


EVERYWHERE = "0.0.0.0:7443"
TLS = {"tls_cert_file": "a", "tls_key_file": "b"}


@pytest.mark.parametrize("listen", [EVERYWHERE, "[::]:7443", "10.0.0.1:7443", "plane:7443"])
def test_an_address_that_others_reach_needs_tls(listen: str) -> None:
    with pytest.raises(ValidationError, match=r"needs TLS: .*TAILRACE_INSECURE=true"):
        Settings(listen=listen)
    with pytest.raises(ValidationError, match="TAILRACE_REQUIRE_TOKENS cannot be false"):
        Settings(listen=listen, require_tokens=False, **TLS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        ({"listen": EVERYWHERE, **TLS}, True),
        ({"listen": EVERYWHERE, "plaintext_behind_proxy": True}, True),
        ({"listen": EVERYWHERE, "insecure": True}, False),
        ({"listen": EVERYWHERE, "insecure": True, "require_tokens": True}, True),
        ({"listen": "127.0.0.1:7443"}, False),
        ({"listen": "127.0.0.1:7443", **TLS}, False),
        ({"listen": "127.0.0.1:7443", "require_tokens": True}, True),
    ],
)
def test_clients_need_a_token_beyond_this_machine(settings: dict[str, Any], required: bool) -> None:
    assert Settings(**settings).tokens_required == required


def test_a_lost_heartbeat_may_not_cost_the_lease() -> None:
    with pytest.raises(ValidationError, match="at most half of TAILRACE_LEASE_SECONDS"):
        Settings(lease_seconds=10, heartbeat_seconds=6)


def test_flags_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_LISTEN", EVERYWHERE)
    monkeypatch.setenv("TAILRACE_INSECURE", "false")
    flags = services_main._options(["--insecure"])
    assert Settings(**flags).insecure
    assert services_main._options([]) == {}
