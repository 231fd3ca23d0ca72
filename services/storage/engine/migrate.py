"""Migration of a database to the newest schema, safe from several replicas at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from services.storage.engine.database import Database
from services.storage.engine.locks import advisory_lock

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


class NewerSchemaError(ValueError):
    """The database was migrated by a newer Tailrace than this one."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"TAILRACE_DATABASE_URL: the database has the schema {revision} of a newer Tailrace, "
            "which this version cannot use: start the newer version, or name another database"
        )


async def migrate_database(database: Database) -> None:
    """Apply all missing migrations in one transaction, under a lock.

    Raises:
        NewerSchemaError: The database has migrations that this version does not know.
    """
    async with database.write() as conn:
        await advisory_lock(conn, "migrations")
        await conn.run_sync(_upgrade)


def migrate(url: str) -> None:
    """Run :func:`migrate_database` for a URL, for callers without an event loop."""
    asyncio.run(_migrate(url))


def alembic_config(connection: sa.Connection) -> Config:
    """Return Alembic's configuration for these migrations, bound to a connection."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await migrate_database(database)
    finally:
        await database.close()


def _upgrade(connection: sa.Connection) -> None:
    config = alembic_config(connection)
    revisions = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in revisions:
            raise NewerSchemaError(revision)
    command.upgrade(config, "head")
