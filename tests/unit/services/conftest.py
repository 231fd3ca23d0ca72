from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from services.storage.rows.tables import metadata
from tests.servers.postgres import Postgres
from tests.unit.services.api_client import ApiClient, serving


@pytest.fixture(scope="session")
def shared_postgres(postgres: Postgres, postgres_template: str) -> str:
    """One migrated database for all tests that empty it first: cloning one costs a second."""
    return postgres.create(postgres_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A migrated and empty database of either kind."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        return url
    postgres: Postgres = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("shared_postgres")
    # The project `default` is a row that the migration makes.
    tables = ", ".join(f'"{t.name}"' for t in metadata.sorted_tables if t.name != "projects")
    dsn = f"host=127.0.0.1 port={postgres.port} user=postgres dbname={name}"
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE".encode())
        connection.execute("DELETE FROM projects WHERE project_id <> 'default'")
    return postgres.url(name)


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with serving(sqlite_url, tmp_path / "data") as client:
        yield client
