"""The deployment: one host with the servers, and workers on others."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Self

import tailrace
from tailrace.access import Access
from tailrace.retry import RetryPolicy
from tailrace.tls_files import TlsFiles
from tests.rehearsal.network import PLANE, Host, make_network
from tests.servers.certificates import write_tls
from tests.servers.node import Process, wait_until
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.secure import bootstrap_token

CLIENTS, WORKERS = f"{PLANE}:7443", f"{PLANE}:7444"
LEASE_SECONDS = 6.0
POOL = "cpu"


class Site:
    """Control plane, RabbitMQ and PostgreSQL on one host, two workers on others.

    Args:
        folder: Folder that any user can enter.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = contextlib.ExitStack()
        self.hosts: dict[str, Host] = {}
        self.workers: dict[str, Process] = {}
        make_network()
        self.tls = write_tls(folder / "tls", "server", (PLANE,))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")}
        self._inherited = inherited | {"HF_HUB_OFFLINE": "1"}

    def __enter__(self) -> Self:
        postgres = Postgres(self._subfolder("postgres"))
        self._open.callback(postgres.stop)
        rabbitmq = RabbitMQ(self._subfolder("rabbitmq"), tls_host=PLANE)
        self._open.callback(rabbitmq.stop)
        self._users = rabbitmq.users()
        self._rabbitmq = rabbitmq
        env = self._inherited | {
            "TAILRACE_DATABASE_URL": postgres.url(postgres.create()),
            "TAILRACE_BROKER_URL": rabbitmq.over_tls(self._users.relay),
            "TAILRACE_BROKER_CA_FILE": str(rabbitmq.files.ca),
            "TAILRACE_DATA_DIR": str(self.folder / "data"),
            "TAILRACE_LISTEN": CLIENTS,
            "TAILRACE_WORKER_BIND": WORKERS,
            "TAILRACE_TLS_CERT_FILE": str(self.tls.certificate),
            "TAILRACE_TLS_KEY_FILE": str(self.tls.key),
            "TAILRACE_WORKER_CA_FILE": str(self.tls.ca),
            "TAILRACE_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        token = bootstrap_token(env)
        self.admin = Access(tls=TlsFiles(self.tls.ca), token=lambda: token)
        self.plane = self._start("plane", [sys.executable, "-m", "services"], env)
        wait_until(self._answers, "the control plane", 120)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def client(self, access: Access | None = None) -> tailrace.Client:
        """A client, of the administrator unless another access is given."""
        return tailrace.Client(CLIENTS, access=access or self.admin, retry=RetryPolicy(attempts=3))

    def start_worker(self, number: int) -> str:
        """Start a worker on a host of its own, with its own certificate and token; its name."""
        name = f"worker-{number}"
        holder = self._start(f"host-{number}", ["unshare", "--net", "sleep", "infinity"], None)
        wait_until(lambda: _is_apart(holder.pid), "the namespace", 10)
        host = self.hosts[name] = Host(number + 1, holder)
        files = write_tls(self.folder / "tls", name, (), pools=(POOL,))
        with self.client() as client:
            secret = client.create_token(["worker"], worker=name, pools=[POOL]).secret
        token = self.folder / f"{name}.token"
        token.touch(mode=0o600)
        token.write_text(secret)
        env = self._inherited | {
            "TAILRACE_SERVER": WORKERS,
            "TAILRACE_BROKER_URL": self._rabbitmq.over_tls(self._users.worker),
            "TAILRACE_BROKER_CA_FILE": str(self._rabbitmq.files.ca),
            "TAILRACE_CA_FILE": str(files.ca),
            "TAILRACE_CERT_FILE": str(files.certificate),
            "TAILRACE_KEY_FILE": str(files.key),
            "TAILRACE_WORKER_TOKEN_FILE": str(token),
            "TAILRACE_WORKER_NAME": name,
            "TAILRACE_POOLS": POOL,
            "TAILRACE_SLOTS": "1",
            "TAILRACE_WORK_DIR": str(self.folder / name),
            "TAILRACE_CACHE_DIR": str(self.folder / "cache"),
        }
        command = host.command(sys.executable, "-m", "workers")
        self.workers[name] = self._start(name, command, env)
        return name

    def _start(self, name: str, argv: list[str], env: dict[str, str] | None) -> Process:
        process = Process(argv, log=self.folder / f"{name}.log", env=env)
        self._open.callback(process.stop, 60)
        return process

    def _subfolder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(mode=0o755)
        return folder

    def _answers(self) -> bool:
        if self.plane.popen.poll() is not None:
            raise RuntimeError(self.plane.tail())
        try:
            with self.client() as client:
                client.list_pools()
        except tailrace.TailraceError:
            return False
        return True


def _is_apart(pid: int) -> bool:
    own, other = (Path(f"/proc/{part}/ns/net").readlink() for part in ("self", pid))
    return own != other
