from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from services.storage.engine.database import Database
from services.storage.engine.migrate import alembic_config, migrate_database
from services.storage.rows.runs import run_labels, runs
from services.storage.rows.tables import metadata
from tests.servers.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/blank.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.url(postgres.create())


def differences(connection: sa.Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_exactly_the_tables_of_the_code(database_url: str) -> None:
    database = Database(database_url)
    async with database.write() as conn:
        assert await conn.run_sync(differences) == []
    await database.close()


async def test_a_missing_column_would_be_noticed(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with database.write() as conn:
        await conn.execute(sa.text("ALTER TABLE runs DROP COLUMN start_time"))
        assert await conn.run_sync(differences) != []
    await database.close()


async def test_two_replicas_may_migrate_at_once(blank_url: str) -> None:
    replicas = [Database(blank_url), Database(blank_url)]
    await asyncio.gather(*map(migrate_database, replicas))
    await migrate_database(replicas[0])
    async with replicas[1].read() as conn:
        versions = (await conn.execute(sa.text("SELECT version_num FROM alembic_version"))).all()
    assert len(versions) == 1
    for replica in replicas:
        await replica.close()


async def test_labels_of_earlier_runs_get_their_state_and_time(blank_url: str) -> None:
    database = Database(blank_url)

    def upgrade(connection: sa.Connection, revision: str) -> None:
        command.upgrade(alembic_config(connection), revision)

    async with database.write() as conn:
        await conn.run_sync(upgrade, "0002")
        await conn.execute(
            sa.text(
                "INSERT INTO runs (uid, project, run_id, spec, resolved_spec, state, revision,"
                " create_time, update_time) VALUES ('u', 'p', 'r', '{}', '{}', 'FAILED', 1,"
                " '2026-01-02 03:04:05', '2026-01-02 03:04:05')"
            )
        )
        await conn.execute(sa.text("INSERT INTO run_labels VALUES ('u', 'team', 'p', 'x')"))
    await migrate_database(database)
    async with database.read() as conn:
        query = sa.select(run_labels.c.state, run_labels.c.create_time == runs.c.create_time)
        rows = (await conn.execute(query.join(runs, runs.c.uid == run_labels.c.run_uid))).all()
    assert rows == [("FAILED", True)]
    await database.close()


async def test_constraints_guard_the_states(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    statement = sa.text(
        "INSERT INTO workers VALUES ('p', 'w', 'ASLEEP', 'h', '[]', '[]', '{}', 1, 0, "
        "'2026-01-01', '2026-01-01', '{}', '', '', '', false)"
    )
    with pytest.raises(sa.exc.IntegrityError, match="ck_workers_worker_state"):
        async with database.write() as conn:
            await conn.execute(statement)
    await database.close()
