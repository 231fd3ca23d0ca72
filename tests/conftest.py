"""Private servers as fixtures: each test gets a broker and a database of its own.

Where a server's binaries are missing its tests are skipped with the way to get them; with CI=true
that is a failure.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import hypothesis
import pytest
import structlog

from tests.servers.node import MissingServerError
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey

# Tests compile much and compute little. Unoptimized programs whose operations stay apart take a
# third of the time, in one piece less than in 32. What they compute is the same but for rounding;
# XLA_FLAGS= in the environment tests optimized ones.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1",
)

# Other tests on the machine slow down the drawing of examples. Each run draws others.
hypothesis.settings.register_profile(
    "tailrace", max_examples=40, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tailrace")


def unavailable(reason: str) -> NoReturn:
    """Skip for lack of a server; fail under CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _logs_apart_from_stdout() -> None:
    """Keep the records of servers in this process out of a command's output under test."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


@pytest.fixture(autouse=True)
def _log_handlers_of_commands_end() -> Iterator[None]:
    """Take away handlers that a command under test gave the root logger: its stream is closed."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in root.handlers[:]:
        if handler not in before and type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


class Server(Protocol):
    """A server that a test started."""

    def stop(self) -> None:
        """End it."""
        ...


S = TypeVar("S", bound=Server)


@contextlib.contextmanager
def running(make: Callable[[Path], S]) -> Iterator[S]:
    """Run a server in a folder of its own that any user can enter.

    It is not below pytest's folder: another pytest of the same user closes that one to others.
    """
    with tempfile.TemporaryDirectory(prefix="tailrace-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            server = make(folder)
        except MissingServerError as missing:
            unavailable(str(missing))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """The session's RabbitMQ node."""
    with running(RabbitMQ) as node:
        yield node


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
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL cluster."""
    with running(Postgres) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """Name of a migrated database to clone."""
    from services.storage.engine.migrate import migrate

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
    from services.storage.engine.migrate import migrate

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
