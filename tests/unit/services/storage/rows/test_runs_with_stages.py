from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.domain.errors import NotFound
from services.domain.run import RunState
from services.domain.stage import StageState
from services.storage.engine.columns import utc_now
from services.storage.rows import runs_with_stages
from services.usecases.content import datasets
from services.usecases.runs.lifecycle import begin_stage, lock_run
from tests.unit.services.driver import CALLER, PROJECT, Driver
from tests.unit.services.usecases.stored_content import make_context


async def test_a_run_that_was_waited_for_is_read_as_it_then_is(
    empty_database_url: str, tmp_path: Path
) -> None:
    driver = Driver(make_context(empty_database_url, tmp_path / "data"))
    database = driver.context.database
    await datasets.seed(driver.context, CALLER, "golden-v2")
    uid = (await driver.create()).run.uid

    async def wait_for_it() -> runs_with_stages.RunWithStages | None:
        async with database.write() as conn:
            return await runs_with_stages.lock(conn, uid)

    async with database.write() as conn:
        locked_run = await lock_run(conn, uid, "local")
        assert locked_run is not None
        waiting = asyncio.create_task(wait_for_it())
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        await begin_stage(conn, locked_run, locked_run.stages[0], "begun", utc_now())
    run_with_stages = await waiting
    assert run_with_stages is not None
    run, (first, *later_stages) = run_with_stages
    assert (run.state, first.state) == (RunState.RUNNING, StageState.RUNNING)
    assert [stage.stage_id for stage in later_stages] == ["infer", "judge"]
    async with database.read() as conn:
        assert await runs_with_stages.get(conn, PROJECT, "r") == run_with_stages
        with pytest.raises(NotFound, match="runs/nobody"):
            await runs_with_stages.get(conn, PROJECT, "nobody")
    await database.close()
