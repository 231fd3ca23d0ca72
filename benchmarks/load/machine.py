"""Private servers, started when a row first needs them, and control planes on top of them."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from services.storage.engine.migrate import migrate
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey
from tests.stack import Stack

EMBEDDED, PRODUCTION = "SQLite + Valkey", "PostgreSQL + RabbitMQ"
BACKENDS = (EMBEDDED, PRODUCTION)


class Machine:
    """The servers of one run of the benchmark; leaving it stops them and removes their data."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._postgres: Postgres | None = None
        self._rabbitmq: RabbitMQ | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def postgres(self) -> Postgres:
        """The cluster, with the durability that it has out of the box."""
        if self._postgres is None:
            self._postgres = Postgres(self.folder())
            self._open.callback(self._postgres.stop)
        return self._postgres

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The node."""
        if self._rabbitmq is None:
            self._rabbitmq = RabbitMQ(self.folder())
            self._open.callback(self._rabbitmq.stop)
        return self._rabbitmq

    def folder(self) -> Path:
        """An empty folder that any user can enter."""
        made = tempfile.TemporaryDirectory(prefix="load-bench-", ignore_cleanup_errors=True)
        folder = Path(self._open.enter_context(made))
        folder.chmod(0o755)
        return folder

    def database_url(self, backend: str) -> str:
        """A migrated, empty database."""
        if backend == EMBEDDED:
            url = f"sqlite+aiosqlite:///{self.folder()}/tailrace.db"
        else:
            url = self.postgres.url(self.postgres.create())
        migrate(url)
        return url

    @contextlib.contextmanager
    def stack(
        self,
        backend: str,
        database_url: str | None = None,
        *,
        prepare: Callable[[Stack], None] = lambda _stack: None,
        **settings: str,
    ) -> Iterator[Stack]:
        """A control plane in its own process that has seeded golden-v2; no workers yet.

        ``prepare`` may change the stack before it starts.
        """
        folder = self.folder()
        with contextlib.ExitStack() as servers:
            if backend == EMBEDDED:
                valkey = Valkey(folder)
                servers.callback(valkey.stop)
                broker_url = valkey.url
            else:
                broker_url = self.rabbitmq.fresh_vhost()
            url = database_url or self.database_url(backend)
            stack = Stack(folder, url, broker_url, **settings)
            servers.callback(stack.stop)
            prepare(stack)
            try:
                stack.start_server()
                with stack.client() as client:
                    client.seed_dataset("golden-v2")
                yield stack
            except BaseException:
                # The folder goes with the machine; what the processes said goes with the error.
                sys.stderr.write(stack.logs())
                raise


def server_process(stack: Stack) -> psutil.Process:
    """The control plane's process, to look at."""
    if stack.server is None:
        raise RuntimeError("the control plane was not started")
    return psutil.Process(stack.server.pid)
