"""A whole Tailrace whose every part can be broken: two workers, proxies before every server."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tailrace.formats import faults
from tests.chaos.disk import Disk
from tests.chaos.matrix import Kind, Target
from tests.servers.node import Process, wait_until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey
from tests.stack import Stack

LEASE_SECONDS = 2.0

WORKERS = ("worker-a", "worker-b")
"""Of equal width, so that results are byte-equal on both."""


class Cluster(Stack):
    """The stack, its broker and its database; whatever ends is started again by :meth:`tend`."""

    def __init__(
        self, folder: Path, kind: Kind, broker: Valkey | RabbitMQ, postgres: Postgres | None
    ) -> None:
        self.kind = kind
        self.broker = broker
        self.postgres = postgres
        url = broker.fresh_vhost() if isinstance(broker, RabbitMQ) else broker.url
        self.broker_proxy = Proxy(broker.port)
        broker_url = url.replace(f":{broker.port}/", f":{self.broker_proxy.port}/")
        self.database_proxy: Proxy | None = None
        self.direct_database_url = database_url = f"sqlite+aiosqlite:///{folder}/tailrace.db"
        if postgres is not None:
            self.database_proxy = Proxy(postgres.port)
            self.direct_database_url = postgres.url(postgres.create())
            ports = (f":{postgres.port}/", f":{self.database_proxy.port}/")
            database_url = self.direct_database_url.replace(*ports)
        self.faults = folder / "faults"
        self.faults.mkdir()
        self.data_disk = Disk(folder / "data")
        super().__init__(
            folder,
            database_url,
            broker_url,
            lease_seconds=str(LEASE_SECONDS),
            poll_seconds="0.3",
            republish_seconds="2",
            republish_max_seconds="8",
            dispatch_grace_seconds="3",
            publish_timeout_seconds="3",
            upload_expiry_seconds="8",
            # Its disk is small, and filled on purpose.
            min_free_bytes="0",
            shutdown_grace_seconds="3",
            drain_seconds="15",
            grace_seconds="5",
            data_dir=str(self.data_disk.folder),
            # Its own: what others download at the moment would look like something left behind.
            cache_dir=str(folder.parent / "cache"),
        )
        self.env[faults.VARIABLE] = str(self.faults)
        self.server_proxy = Proxy(self.port)
        self.disks = {name: Disk(folder / name) for name in WORKERS}
        self.fleet: dict[str, Process] = {}

    def start(self) -> None:
        """Start the control plane and both workers, and wait until they are registered."""
        self.start_server()
        self.tend()
        with self.client() as client:
            wait_until(lambda: len(list(client.list_workers())) == 2, "the workers", 120)

    def tend(self) -> None:
        """Start again what has ended, without waiting for it; as systemd would."""
        if self.server is None or self.server.popen.poll() is not None:
            log = self.folder / "server.log"
            self.server = Process([sys.executable, "-m", "services"], log=log, env=self.env)
        for name in WORKERS:
            process = self.fleet.get(name)
            if process is None or process.popen.poll() is not None:
                if process is not None:
                    process.kill_group()
                self.fleet[name] = self._spawn_worker(name)
        self.broker = tended(self.broker)
        if self.postgres is not None:
            process = self.postgres.process
            if process is None or process.popen.poll() is not None:
                self.postgres.kill()
                self.postgres.start()

    def server_process(self, target: Target) -> Process:
        """The process of a server."""
        found = {
            Target.CONTROL: self.server,
            Target.RABBITMQ: self.broker.process,
            Target.VALKEY: self.broker.process,
            Target.POSTGRES: self.postgres.process if self.postgres else None,
        }[target]
        assert found is not None, target
        return found

    def worker_of(self, pid: int) -> str:
        """The worker that a process belongs to."""
        for name, process in self.fleet.items():
            if pid == process.pid or pid in {child.pid for child in offspring(process.pid)}:
                return name
        raise LookupError(f"process {pid} belongs to no worker")

    def inhabitants(self) -> Iterator[psutil.Process]:
        """Who works in an attempt's folder: stage processes, watchdogs, and what they left."""
        return (process for process, depth in self._tenants() if depth > 1)

    def orphans(self) -> Iterator[psutil.Process]:
        """Who works in a worker's folder and has no living worker above it."""
        family = {child.pid for worker in self.fleet.values() for child in offspring(worker.pid)}
        return (process for process, _ in self._tenants() if process.pid not in family)

    def _tenants(self) -> Iterator[tuple[psutil.Process, int]]:
        """Processes that work on a worker's disk, and how far below the worker's own folder."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                cwd = Path(process.cwd().removesuffix(" (deleted)"))
                for name, disk in self.disks.items():
                    own = disk.folder / name
                    if cwd.is_relative_to(own):
                        yield process, len(cwd.relative_to(own).parts)

    def stop(self) -> None:
        """End everything and unmount the disks; the broker and the database are their maker's."""
        for process in [*self.fleet.values(), *([self.server] if self.server else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
            process.stop(timeout=20)
        for disk in [self.data_disk, *self.disks.values()]:
            disk.remove()
        for proxy in (self.broker_proxy, self.server_proxy, self.database_proxy):
            if proxy is not None:
                proxy.close()

    def _spawn_worker(self, name: str) -> Process:
        env = self.env | {
            "TAILRACE_WORKER_NAME": name,
            "TAILRACE_WORK_DIR": str(self.disks[name].folder),
            "TAILRACE_SERVER": f"127.0.0.1:{self.server_proxy.port}",
            "TAILRACE_SLOTS": "1",
            "TAILRACE_ACCELERATOR": "cpu",
        }
        argv = [sys.executable, "-m", "workers"]
        return Process(argv, log=self.folder / f"{name}.log", env=env)


def tended(broker: Valkey | RabbitMQ) -> Valkey | RabbitMQ:
    """The broker, started again when it has ended."""
    if broker.process.popen.poll() is not None:
        broker.process.kill_group()
        broker.restart()
    return broker


def offspring(pid: int) -> list[psutil.Process]:
    """All processes below one, of any depth."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        return found
    return []
