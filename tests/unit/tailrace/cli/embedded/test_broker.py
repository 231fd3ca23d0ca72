from __future__ import annotations

import stat
from pathlib import Path

import pytest
import valkey

from tailrace.cli.embedded.broker import start_broker


def test_a_private_broker_without_persistence(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    child, url = start_broker(folder, tmp_path / "log")
    try:
        client = valkey.Valkey.from_url(url)
        client.set("a", "b")
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        port = client.connection_pool.connection_kwargs["port"]
        with pytest.raises(valkey.AuthenticationError):
            valkey.Valkey(port=port).ping()
        assert stat.S_IMODE((folder / "valkey.conf").stat().st_mode) == 0o600
        command = Path(f"/proc/{child.pid}/cmdline").read_bytes().decode()
        assert client.connection_pool.connection_kwargs["password"] not in command
        client.close()  # type: ignore[no-untyped-call]
    finally:
        child.stop()
    assert [path.name for path in folder.iterdir()] == ["valkey.conf"]
