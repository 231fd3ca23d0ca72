from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.engine.database import Database
from services.storage.engine.migrate import alembic_config, migrate_database
from services.storage.rows.runs import run_labels, runs
from services.storage.rows.tables import metadata
from tests.servers.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without any table."""
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


OLD_TRAIN = {
    "sft": {"max_steps": 10, "batch_size": 4, "overlong": "drop"},
    "seed": 7,
    "eval_fraction": 0.2,
}
NEW_TRAIN = {
    "max_steps": 10,
    "batch_size": 4,
    "sft": {"overlong": "drop"},
    "seed": 7,
    "eval_fraction": 0.2,
}


async def test_stored_specs_get_the_shared_keys_of_a_training_and_lose_them_again(
    blank_url: str,
) -> None:
    old = {
        "both": ({"train": OLD_TRAIN, "dataset": "d"}, {"train": OLD_TRAIN, "cache": True}),
        "infer": ({"infer": {}}, {"infer": {}}),
        "bare": ({"train": {"sft": {"epochs": 1.5}}}, {"train": {"sft": {"epochs": 1.5}}}),
    }
    database = Database(blank_url)
    await _migrate(database, command.upgrade, "0007")
    async with database.write() as conn:
        for uid, (spec, resolved) in old.items():
            await conn.execute(
                sa.text(
                    "INSERT INTO runs (uid, project, run_id, spec, resolved_spec, state, revision,"
                    " create_time, update_time) VALUES (:uid, 'p', :uid, :spec, :resolved,"
                    " 'FAILED', 1, '2026-01-02 03:04:05', '2026-01-02 03:04:05')"
                ),
                {"uid": uid, "spec": json.dumps(spec), "resolved": json.dumps(resolved)},
            )
    await migrate_database(database)
    bare = {"train": {"epochs": 1.5, "sft": {}}}
    assert await _specs(database) == {
        "both": ({"train": NEW_TRAIN, "dataset": "d"}, {"train": NEW_TRAIN, "cache": True}),
        "infer": ({"infer": {}}, {"infer": {}}),
        "bare": (bare, bare),
    }
    await _migrate(database, command.downgrade, "0007")
    assert await _specs(database) == old
    await database.close()


async def _migrate(database: Database, move: Callable[[Config, str], None], revision: str) -> None:
    async with database.write() as conn:
        await conn.run_sync(lambda connection: move(alembic_config(connection), revision))


async def _specs(database: Database) -> dict[str, tuple[object, object]]:
    async with database.read() as conn:
        rows = await conn.execute(sa.select(runs.c.uid, runs.c.spec, runs.c.resolved_spec))
        return {uid: (spec, resolved) for uid, spec, resolved in rows.all()}


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


async def test_a_new_kind_of_stage_needs_no_migration(blank_url: str) -> None:
    database = Database(blank_url)
    await _migrate(database, command.upgrade, "0008")
    async with database.write() as conn:
        await conn.execute(
            sa.text(
                "INSERT INTO runs (uid, project, run_id, spec, resolved_spec, state, revision,"
                " create_time, update_time) VALUES ('u', 'p', 'r', '{}', '{}', 'FAILED', 1,"
                " '2026-01-02 03:04:05', '2026-01-02 03:04:05')"
            )
        )
        await _add_stage(conn, "train")
        # A row that refers to the stage.
        await conn.execute(
            sa.text(
                "INSERT INTO outbox (id, project, run_uid, stage_id, attempt, pool, first,"
                " due_time, publications, failures, claim) VALUES (1, 'p', 'u', 'train', 1, 'gpu',"
                " true, '2026-01-02 03:04:05', 0, 0, '')"
            )
        )
    with pytest.raises(sa.exc.IntegrityError, match="ck_stages_stage_kind"):
        await _write_stage(database, "distill")
    await migrate_database(database)
    await _write_stage(database, "distill")
    with pytest.raises(sa.exc.IntegrityError, match="ck_stages_stage_state"):
        await _write_stage(database, "judge", state="ASLEEP")
    async with database.write() as conn:
        await conn.execute(sa.text("DELETE FROM stages WHERE kind = 'distill'"))
    await _migrate(database, command.downgrade, "0008")
    with pytest.raises(sa.exc.IntegrityError, match="ck_stages_stage_kind"):
        await _write_stage(database, "distill")
    await database.close()


async def _write_stage(database: Database, kind: str, state: str = "FAILED") -> None:
    async with database.write() as conn:
        await _add_stage(conn, kind, state)


async def _add_stage(conn: AsyncConnection, kind: str, state: str = "FAILED") -> None:
    await conn.execute(
        sa.text(
            "INSERT INTO stages (run_uid, stage_id, project, ordinal, kind, pool, state, attempt,"
            " failures, max_attempts, cached_from, cache_key, cached_run_uid)"
            " VALUES ('u', :kind, 'p', 0, :kind, 'gpu', :state, 1, 0, 1, '', '', '')"
        ),
        {"kind": kind, "state": state},
    )
