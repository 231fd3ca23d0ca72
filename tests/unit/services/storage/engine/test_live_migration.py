"""An upgrade of the schema under live runs, which continue undisturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from services.storage.engine.database import Database
from services.storage.engine.migrate import alembic_config, migrate_database
from services.storage.rows.tables import metadata
from services.usecases.content import datasets
from tests.servers.postgres import Postgres
from tests.unit.services.driver import CALLER, Driver, line, states
from tests.unit.services.usecases.stored_content import make_context


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/blank.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.url(postgres.create())


async def test_live_runs_survive_every_upgrade(
    sqlite_url: str, blank_url: str, tmp_path: Path
) -> None:
    context = make_context(sqlite_url, tmp_path / "data")
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    await driver.create("running")
    order = await driver.start("running")
    assert (await driver.publish(order, 1, line("before"))).sequence == 1
    await driver.create("queued")
    rows = await _rows(context.database)
    await context.database.close()

    upgraded = make_context(blank_url, tmp_path / "data")
    async with upgraded.database.write() as conn:
        await conn.run_sync(_upgrade_to_the_first)
        await conn.run_sync(_insert, rows)
    await migrate_database(upgraded.database)
    # The upgrade did not disturb the worker: its lease, events and result are accepted.
    driver = Driver(upgraded)
    assert (await driver.publish(order, 1, line("before"), line("after"))).sequence == 2
    assert await driver.complete(order, last_event=2)
    assert states(await driver.get("running")) == ("RUNNING", "SUCCEEDED", "QUEUED", "PENDING")
    # The worker registers again before it takes another stage.
    await driver.register()
    assert await driver.complete(await driver.start("queued"))
    await upgraded.database.close()


async def _rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    async with database.read() as conn:
        return {
            table.name: [dict(row) for row in (await conn.execute(sa.select(table))).mappings()]
            for table in metadata.sorted_tables
        }


def _upgrade_to_the_first(connection: sa.Connection) -> None:
    config = alembic_config(connection)
    (first,) = ScriptDirectory.from_config(config).get_bases()
    command.upgrade(config, first)


def _insert(connection: sa.Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Store the columns that the first schema had."""
    inspector = sa.inspect(connection)
    for table in metadata.sorted_tables:
        if not inspector.has_table(table.name) or not rows[table.name]:
            continue
        column_names = {column["name"] for column in inspector.get_columns(table.name)}
        if table.autoincrement_column is not None:
            column_names.discard(table.autoincrement_column.name)  # numbered by the sequence
        old = [{k: v for k, v in row.items() if k in column_names} for row in rows[table.name]]
        columns = [column for column in table.columns if column.name in column_names]
        connection.execute(sa.insert(sa.table(table.name, *map(_plain, columns))), old)


def _plain(column: sa.Column[Any]) -> sa.ColumnClause[Any]:
    return sa.column(column.name, column.type)
