from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

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
    assert Settings(listen=listen).listen == listen


def test_a_lost_heartbeat_may_not_cost_the_lease() -> None:
    with pytest.raises(ValidationError, match="at most half of TAILRACE_LEASE_SECONDS"):
        Settings(lease_seconds=10, heartbeat_seconds=6)
