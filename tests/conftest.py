"""Private servers as fixtures: each test gets a broker and a database of its own.

Where a server's binaries are missing its tests are skipped with the way to get them; with CI=true
that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tests.servers.node import MissingServerError
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey

T = TypeVar("T")


def unavailable(reason: str) -> NoReturn:
    """Skip for lack of a server; fail under CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def start(make: Callable[[Path], T], folder: Path) -> T:
    """Start a server in a folder that its own user can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        return make(folder)
    except MissingServerError as missing:
        unavailable(str(missing))


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The session's RabbitMQ node."""
    node = start(RabbitMQ, tmp_path_factory.mktemp("rabbitmq"))
    yield node
    node.stop()


@pytest.fixture
def rabbitmq_url(rabbitmq: RabbitMQ) -> str:
    """A virtual host of the test's own on the session's RabbitMQ."""
    return rabbitmq.fresh_vhost()


@pytest.fixture
def valkey_node(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own."""
    node = Valkey(tmp_path)
    yield node
    node.stop()


@pytest.fixture
def valkey_url(valkey_node: Valkey) -> str:
    """URL of a Valkey of the test's own."""
    return valkey_node.url


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The session's PostgreSQL cluster."""
    cluster = start(Postgres, tmp_path_factory.mktemp("postgres"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """Name of a migrated database to clone."""
    from services.storage.migrate import migrate

    name = postgres.create()
    migrate(postgres.url(name))
    return name


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    name = postgres.create(postgres_template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    from services.storage.migrate import migrate

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of the test's own."""
    path = tmp_path / "tailrace.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The same test on both databases."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url
