"""The two stacks: the embedded default, and PostgreSQL with RabbitMQ."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey
from tests.stack import Stack

STACKS = ("embedded", "production")

MakeStack = Callable[..., Stack]


@contextlib.contextmanager
def stacks(request: pytest.FixtureRequest, base: pytest.TempPathFactory) -> Iterator[MakeStack]:
    """Makes stacks of either kind, empty, and stops them at the end."""
    made: list[Stack | Valkey] = []

    def make(kind: str, **settings: str) -> Stack:
        folder = base.mktemp(kind)
        if kind == "embedded":
            broker = Valkey(folder)
            made.append(broker)
            stack = Stack(
                folder, f"sqlite+aiosqlite:///{folder}/tailrace.db", broker.url, **settings
            )
        else:
            postgres: Postgres = request.getfixturevalue("postgres")
            rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq")
            # Empty, not cloned: the server's own migration at its start is part of the test.
            users = rabbitmq.users()
            stack = Stack(
                folder,
                postgres.url(postgres.create()),
                users.relay,
                worker_broker_url=users.worker,
                **settings,
            )
            stack.flower_broker_url = users.flower
        made.append(stack)
        return stack

    try:
        yield make
    finally:
        for server in reversed(made):
            server.stop()


@pytest.fixture
def stack_maker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeStack]:
    """Makes stacks of a test's own."""
    with stacks(request, tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session", params=STACKS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A running control plane with one worker, shared by the tests of a session."""
    with stacks(request, tmp_path_factory) as make:
        stack = make(request.param)
        stack.start_server()
        stack.start_worker()
        with stack.client() as client:
            client.seed_dataset("golden-v2")
        yield stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Attach the processes' last output to a failure."""
    report = yield
    stacks = [v for v in getattr(item, "funcargs", {}).values() if isinstance(v, Stack)]
    if report.failed and stacks:
        report.sections.append(("processes", stacks[0].logs()))
    return report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test may write."""
    return tmp_path
