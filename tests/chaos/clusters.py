"""Clusters of either kind with servers of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.cluster import Cluster
from tests.chaos.matrix import Kind
from tests.conftest import running
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey


@contextlib.contextmanager
def clusters(kind: Kind, folder: Path) -> Iterator[Cluster]:
    """A started cluster, all of which ends with the block."""
    with contextlib.ExitStack() as servers:
        broker: Valkey | RabbitMQ
        database: Postgres | None = None
        if kind is Kind.EMBEDDED:
            broker = servers.enter_context(running(Valkey))
        else:
            broker = servers.enter_context(running(RabbitMQ))
            database = servers.enter_context(running(Postgres))
        cluster = Cluster(folder, kind, broker, database)
        servers.callback(cluster.stop)
        cluster.start()
        yield cluster
