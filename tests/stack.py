"""A whole Tailrace of real processes: one control plane, some workers, a client."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import tailrace
from tailrace.access import Access
from tailrace.worker_token import VARIABLE
from tests.servers.node import Process, free_port, wait_until
from tests.servers.worker_token import token_file


def session_folder(base: Path) -> Path:
    """The folder that all processes of a test session share, from one process's own."""
    return base.parent if base.name.startswith("popen-") else base


class Stack:
    """Processes started from this checkout, each in a session of its own."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        broker_url: str,
        *,
        worker_broker_url: str = "",
        **settings: str,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.judge_port = free_port()
        """Port of a judging model's server on this machine that workers may ask."""
        self.judge_key = "TAILRACE_JUDGE_KEY_TESTS", "sk-do-not-tell"
        """Name and value of the key for that server."""
        keys = folder / "judge-keys.json"
        keys.touch(mode=0o600)
        name, key = self.judge_key
        keys.write_text(json.dumps({name: {"host": f"127.0.0.1:{self.judge_port}", "key": key}}))
        self.broker_url = broker_url
        self.flower_broker_url = broker_url
        """The broker's URL for Flower, which may have a user of its own."""
        self.worker_broker_url = worker_broker_url or broker_url
        self.worker_address = self.address
        """Where workers reach the control plane."""
        self.worker_env: Callable[[str], dict[str, str]] = lambda _name: {}
        """Settings of a worker by its name."""
        self.access: Access | None = None
        """Access of clients; that of the environment unless set."""
        self.server: Process | None = None
        self.workers: list[Process] = []
        self._started = 0
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")}
        self.env = inherited | {
            "TAILRACE_DATABASE_URL": database_url,
            "TAILRACE_BROKER_URL": broker_url,
            "TAILRACE_DATA_DIR": str(folder / "data"),
            "TAILRACE_LISTEN": self.address,
            "TAILRACE_METRICS_PORT": "0",
            "TAILRACE_SERVER": self.address,
            "TAILRACE_JUDGE_ENDPOINTS": f"127.0.0.1:{self.judge_port}",
            "TAILRACE_JUDGE_KEYS_FILE": str(keys),
            VARIABLE: str(token_file()),
            # Shared by the session: programs that are compiled already start sooner.
            "TAILRACE_CACHE_DIR": str(session_folder(folder.parent) / "cache"),
            "HF_HUB_OFFLINE": "1",
            **{f"TAILRACE_{name.upper()}": value for name, value in settings.items()},
        }

    def start_server(self) -> Process:
        """Start the control plane and wait until it answers."""
        log = self.folder / "server.log"
        self.server = Process([sys.executable, "-m", "services"], log=log, env=self.env)
        server = self.server

        def ready() -> bool:
            if server.popen.poll() is not None:
                raise RuntimeError(f"the control plane ended:\n{server.tail()}")
            return self._answers()

        wait_until(ready, "the control plane", 120)
        return server

    def start_worker(self, **settings: str) -> Process:
        """Start a worker and wait until it is registered."""
        self._started += 1
        name = f"worker-{self._started}"
        env = self.env | {
            "TAILRACE_WORKER_NAME": name,
            "TAILRACE_WORK_DIR": str(self.folder / name),
            "TAILRACE_BROKER_URL": self.worker_broker_url,
            **self.worker_env(name),
            **{f"TAILRACE_{key.upper()}": value for key, value in settings.items()},
        }
        process = Process(
            [sys.executable, "-m", "workers"], log=self.folder / f"{name}.log", env=env
        )
        self.workers.append(process)

        def ready() -> bool:
            if process.popen.poll() is not None:
                raise RuntimeError(f"the worker ended:\n{process.tail()}")
            with self.client() as client:
                return any(w.name == f"workers/{name}" for w in client.list_workers())

        wait_until(ready, name, 60)
        return process

    def client(self, port: int | None = None) -> tailrace.Client:
        """A client of the control plane, or of a proxy before it."""
        return tailrace.Client(f"127.0.0.1:{port or self.port}", access=self.access)

    def stop(self) -> None:
        """End everything."""
        for process in [*self.workers, *([self.server] if self.server else [])]:
            process.stop(timeout=30)

    def logs(self) -> str:
        """The ends of all outputs, for failure messages."""
        parts = [f"== {path.name}\n" for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(
            part + "\n".join((self.folder / part[3:-1]).read_text().splitlines()[-25:])
            for part in parts
        )

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                list(client.list_workers(limit=1))  # a listing asks nobody before it is read
        except tailrace.TailraceError:
            return False
        return True
