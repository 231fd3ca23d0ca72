"""Deletion of models, and the runs and aliases that it waits for."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.domain.content.model import Model
from services.domain.errors import DomainError, FailedPrecondition, InvalidInput, NotFound
from services.storage.rows import models as store
from services.usecases.content import datasets, model_deletion, models
from services.usecases.content.promotion import history_of, set_alias
from services.usecases.context import Context
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.retry import retry_run
from tests.model_folder import files as tiny_files
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stored_content import make_context, put


@pytest.fixture
async def driver(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    """A control plane with the versions 1 and 2 of ``models/m``."""
    context = make_context(empty_database_url, tmp_path / "data")
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    model = await imported(context)
    async with context.database.write() as conn:
        second = dataclasses.replace(model, version=2)
        await store.add_version(conn, CALLER.project, second)
    yield driver
    await context.database.close()


async def imported(context: Context) -> Model:
    files = [await put(context, name, content) for name, content in tiny_files().items()]
    return await models.import_folder(context, CALLER, "m", "", files)


async def delete(context: Context, name: str, *, allow_missing: bool = False) -> None:
    await model_deletion.delete(context, CALLER, name, allow_missing=allow_missing)


async def dependents(driver: Driver, name: str) -> list[str]:
    """Return what a refusal lists."""
    with pytest.raises(FailedPrecondition) as caught:
        await delete(driver.context, name)
    assert caught.value.reason == "MODEL_IN_USE"
    return caught.value.metadata["dependents"].split(",")


async def test_a_deleted_version_is_gone_and_its_number_stays_taken(driver: Driver) -> None:
    context = driver.context
    await delete(context, "models/m@2")
    for name in ("models/m@2", "models/m@3"):
        with pytest.raises(NotFound):
            await models.get(context, CALLER, name)
    assert (await models.get(context, CALLER, "models/m")).version == 1
    page, _ = await models.list_newest(context, CALLER, size=10, token="")
    assert [model.versioned_name for model in page] == ["models/m@1"]
    await delete(context, "models/m")
    with pytest.raises(NotFound):
        await models.get(context, CALLER, "models/m")
    assert (await imported(context)).version == 3
    assert (await imported(context)).version == 3


async def test_a_repetition_is_an_error_unless_it_may_be_missing(driver: Driver) -> None:
    for name in ("models/m@2", "models/m"):
        await delete(driver.context, name)
        with pytest.raises(NotFound):
            await delete(driver.context, name)
        await delete(driver.context, name, allow_missing=True)
    with pytest.raises(InvalidInput):
        await delete(driver.context, "models/m@prod", allow_missing=True)


async def test_aliases_keep_a_version_and_go_with_the_model(driver: Driver) -> None:
    await set_alias(driver.context, CALLER, "models/m", "prod", 2)
    assert await dependents(driver, "models/m@2") == ["models/m@prod"]
    await delete(driver.context, "models/m@1")
    await delete(driver.context, "models/m")
    with pytest.raises(NotFound, match="no alias"):
        await models.get(driver.context, CALLER, "models/m@prod")
    _, moves = await history_of(driver.context, CALLER, await imported(driver.context))
    assert [(move.from_version, move.to_version) for move in moves] == [(0, 2), (2, 0)]


RUBRIC = {"name": "llm_rubric", "llm_rubric": {"rubric": "x", "backend": {"model": "models/m@2"}}}


async def test_unfinished_runs_keep_the_versions_that_they_load(driver: Driver) -> None:
    await driver.create("starts", model={"source": "models/m@1"})
    await driver.create("waits", model={"source": "runs/starts"})
    await driver.create("other", labels={"model": "models/m@1"})
    assert await dependents(driver, "models/m@1") == ["runs/starts"]
    assert await dependents(driver, "models/m") == ["runs/starts"]
    await delete(driver.context, "models/m@2")
    # The waiting run fails with it.
    await cancel_run(driver.context, CALLER, "starts")
    await delete(driver.context, "models/m@1")
    with pytest.raises(NotFound, match="models/m@1 does not exist"):
        await retry_run(driver.context, CALLER, "starts", "")
    with pytest.raises(NotFound):
        await driver.create("late", model={"source": "models/m@1"})


async def test_judging_models_are_used(driver: Driver) -> None:
    await driver.create("judged", judges=[RUBRIC])
    assert await dependents(driver, "models/m@2") == ["runs/judged"]
    await delete(driver.context, "models/m@1")


async def test_teachers_are_used(driver: Driver) -> None:
    train = {"max_steps": 1, "distill": {"teacher": "models/m@1"}}
    await driver.create("taught", train=train, infer=None, judges=None)
    assert await dependents(driver, "models/m@1") == ["runs/taught"]
    await cancel_run(driver.context, CALLER, "taught")
    await delete(driver.context, "models/m@1")
    with pytest.raises(NotFound, match="models/m@1 does not exist"):
        await retry_run(driver.context, CALLER, "taught", "")


async def test_another_control_plane_does_not_serve_what_it_remembers(
    driver: Driver, empty_database_url: str, tmp_path: Path
) -> None:
    other = make_context(empty_database_url, tmp_path / "data")
    assert (await models.get(other, CALLER, "models/m@2")).version == 2
    await delete(driver.context, "models/m@2")
    with pytest.raises(NotFound):
        await models.get(other, CALLER, "models/m@2")
    await other.database.close()


async def test_a_deletion_waits_for_a_run_that_is_being_created(driver: Driver) -> None:
    context = driver.context
    async with context.database.write() as conn:
        await store.keep_named(conn, CALLER.project)
        deletion = asyncio.create_task(delete(context, "models/m@1"))
        done, _ = await asyncio.wait([deletion], timeout=0.1)
        assert not done
    await deletion


async def test_a_run_and_the_deletion_of_its_model_never_both_succeed(driver: Driver) -> None:
    for number in range(8):
        name = f"models/m@{number + 3}"
        async with driver.context.database.write() as conn:
            model = await store.get_stored(conn, CALLER.project, "m", 1)
            version = dataclasses.replace(model, version=number + 3)
            await store.add_version(conn, CALLER.project, version)
        outcomes = await asyncio.gather(
            driver.create(f"r{number}", model={"source": name}),
            delete(driver.context, name),
            return_exceptions=True,
        )
        reasons = [error.reason for error in outcomes if isinstance(error, DomainError)]
        assert reasons in (["MODEL_NOT_FOUND"], ["MODEL_IN_USE"])
