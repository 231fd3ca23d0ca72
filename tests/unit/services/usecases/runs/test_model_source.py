"""Runs that start from the models of other runs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from services.domain.content.artifact import Artifact
from services.domain.errors import FailedPrecondition, InvalidInput, NotFound
from services.domain.event import CheckpointSaved
from services.domain.run import RunState
from services.domain.stage import StageState
from services.storage.rows import artifacts, outbox
from services.usecases.content import models
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.create import CreateRun
from services.usecases.runs.retry import retry_run
from services.usecases.runs.view import RunView
from services.usecases.stages.complete import complete_stage
from services.usecases.stages.inputs import InputRole
from tailrace.formats.stage_protocol import ArtifactKind
from tests import model_folder
from tests.unit.services.driver import CALLER, SPEC, Driver, spec, states
from tests.unit.services.usecases.stages.test_cache import run_through
from tests.unit.services.usecases.stored_content import put

WAITING = ("QUEUED", "PENDING", "PENDING", "PENDING")


async def start_from(driver: Driver, source: str, run_id: str = "b", **changes: Any) -> RunView:
    return await driver.create(run_id, model={"source": source}, **changes)


async def finish(driver: Driver, run_id: str) -> None:
    while (await driver.get(run_id)).run.state is not RunState.SUCCEEDED:
        await driver.complete(await driver.start(run_id))


async def queued(driver: Driver, run_id: str) -> list[str]:
    view = await driver.get(run_id)
    async with driver.context.database.read() as conn:
        return [*await outbox.list_publications(conn, view.run.uid)]


async def save_checkpoint(driver: Driver, run_id: str, step: int) -> None:
    order = await driver.start(run_id)
    file = await driver.upload("state.safetensors", b"state")
    await driver.publish(order, 1, CheckpointSaved(step, [file]))
    await driver.release(order)


async def test_a_run_starts_from_the_final_model_of_another(driver: Driver) -> None:
    source = await driver.create("a")
    await finish(driver, "a")
    view = await start_from(driver, "runs/a")
    assert view.run.resolved_spec.model is not None
    assert view.run.resolved_spec.model.source == f"runs/{source.run.uid}"
    order = await driver.start("b")
    producers = {a.kind.value: a.producer for a in order.inputs.artifacts}
    assert producers["model"] is not None
    assert producers["model"].run_uid == source.run.uid


async def test_a_run_waits_for_one_that_is_unfinished(driver: Driver) -> None:
    await driver.create("a")
    view = await start_from(driver, "runs/a")
    assert states(view) == WAITING
    assert "runs/a, whose model it starts from, is QUEUED" in view.stages[0].waiting_reason
    for _ in range(3):
        assert states(await driver.get("b")) == WAITING
        assert await queued(driver, "b") == []
        await driver.complete(await driver.start("a"))
    assert states(await driver.get("b")) == ("QUEUED", "QUEUED", "PENDING", "PENDING")
    assert await queued(driver, "b") == ["train"]
    assert await driver.history("b") == [("", "", "QUEUED"), ("train", "PENDING", "QUEUED")]
    await finish(driver, "b")
    assert (await driver.get("b")).run.state is RunState.SUCCEEDED


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
async def test_a_source_that_ends_without_a_model_fails_the_runs_that_wait(
    driver: Driver, state: str
) -> None:
    await driver.create("a")
    await start_from(driver, "runs/a", "b")
    await start_from(driver, "runs/b", "c")
    await end(driver, state)
    for run_id, reason, other in (
        ("b", f"SOURCE_RUN_{state}", "a"),
        ("c", "SOURCE_RUN_FAILED", "b"),
    ):
        view = await driver.get(run_id)
        assert states(view) == ("FAILED", "FAILED", "PENDING", "PENDING")
        assert view.error is not None
        assert view.error.reason == reason
        assert f"tailrace runs retry {other}" in view.error.message
    with pytest.raises(FailedPrecondition, match=f"runs/a is {state}"):
        await retry_run(driver.context, CALLER, "b", "")
    with pytest.raises(FailedPrecondition, match=f"runs/a is {state}"):
        await start_from(driver, "runs/a", "d")


async def end(driver: Driver, state: str) -> None:
    if state == "CANCELLED":
        await cancel_run(driver.context, CALLER, "a")
    else:
        await driver.fail(await driver.start("a"), retryable=False)


async def test_after_a_retry_of_its_source_a_run_waits_again(driver: Driver) -> None:
    await driver.create("a")
    await start_from(driver, "runs/a")
    await end(driver, "FAILED")
    await retry_run(driver.context, CALLER, "a", "")
    assert (await driver.get("b")).run.state is RunState.FAILED
    view = await retry_run(driver.context, CALLER, "b", "")
    assert states(view) == WAITING
    assert view.error is None
    assert "runs/a, whose model" in view.stages[0].waiting_reason
    await finish(driver, "a")
    await finish(driver, "b")
    assert (await driver.get("b")).run.state is RunState.SUCCEEDED


async def test_a_run_is_retried_after_its_source_has_succeeded(driver: Driver) -> None:
    await driver.create("a")
    await start_from(driver, "runs/a")
    await cancel_run(driver.context, CALLER, "b")
    await finish(driver, "a")
    assert (await driver.get("b")).run.state is RunState.CANCELLED
    view = await retry_run(driver.context, CALLER, "b", "")
    assert states(view) == ("QUEUED", "QUEUED", "PENDING", "PENDING")
    await finish(driver, "b")


async def test_a_cancelled_run_that_is_retried_waits_for_its_source(driver: Driver) -> None:
    await driver.create("a")
    await start_from(driver, "runs/a")
    await cancel_run(driver.context, CALLER, "b")
    assert states(await retry_run(driver.context, CALLER, "b", "")) == WAITING
    await finish(driver, "a")
    assert await queued(driver, "b") == ["train"]


async def test_a_saved_checkpoint_is_used_at_once(driver: Driver) -> None:
    await driver.create("a")
    await save_checkpoint(driver, "a", 5)
    view = await start_from(driver, "runs/a@5")
    assert view.stages[0].stage.state is StageState.QUEUED
    order = await driver.start("b")
    roles = {named.role: named.artifact for named in order.inputs.named}
    assert roles[InputRole.SOURCE_CHECKPOINT].step == 5
    # Its tokenizer is trained on the dataset of the run that started from a preset.
    assert roles[InputRole.SOURCE_DATASET].kind.value == "dataset"


async def test_a_checkpoint_that_is_never_saved_fails_the_run(driver: Driver) -> None:
    await driver.create("a")
    await save_checkpoint(driver, "a", 5)
    assert states(await start_from(driver, "runs/a@7")) == WAITING
    await finish(driver, "a")
    error = (await driver.get("b")).error
    assert error is not None
    assert error.reason == "CHECKPOINT_NOT_FOUND"
    with pytest.raises(NotFound, match=r"no checkpoint of step 7 \(saved: 5\)"):
        await start_from(driver, "runs/a@7", "c")


async def test_a_checkpoint_of_a_failed_run_can_be_used(driver: Driver) -> None:
    await driver.create("a")
    await save_checkpoint(driver, "a", 5)
    await end(driver, "FAILED")
    assert (await start_from(driver, "runs/a@5")).stages[0].stage.state is StageState.QUEUED


async def test_an_adapter_goes_on_next_to_its_base_model(driver: Driver) -> None:
    await driver.create("base")
    await finish(driver, "base")
    train = {**SPEC["train"], "adapter": {"lora": {}}}
    await start_from(driver, "runs/base", "lora", train=train)
    report = await driver.completion(await driver.start("lora"))
    paths = ["model.safetensors", "adapter/adapter_config.json"]
    files = [await driver.upload(path, path.encode()) for path in paths]
    model, *others = report.artifacts
    changed = dataclasses.replace(model, files=files)
    await complete_stage(driver.context, dataclasses.replace(report, artifacts=[changed, *others]))
    await finish(driver, "lora")
    await driver.create("c", model={"source": "runs/lora", "adapter": "continue"})
    order = await driver.start("c")
    (folder,) = (a for a in order.inputs.artifacts if a.kind.value == "model")
    base = [file.path for file in (await driver_model(driver, "base")).listing.files]
    assert [file.path for file in folder.listing.files] == sorted(
        [*base, "unmerged_adapter/adapter_config.json"]
    )


async def driver_model(driver: Driver, run_id: str) -> Artifact:
    uid = (await driver.get(run_id)).run.uid
    async with driver.context.database.read() as conn:
        kept = await artifacts.list_for_run(conn, CALLER.project, uid, kind=ArtifactKind.MODEL)
    return kept[0]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("runs/a", "runs/a trains no adapter"),
        ("runs/lora", "the base model of runs/lora is not stored here"),
        ("runs/lora@5", "name the final model, runs/lora"),
    ],
)
async def test_an_adapter_that_cannot_go_on_is_refused(
    driver: Driver, source: str, problem: str
) -> None:
    await driver.create("a")
    train = {**SPEC["train"], "adapter": {"lora": {}}}
    await driver.create("lora", train=train)
    with pytest.raises(InvalidInput) as caught:
        await driver.create("c", model={"source": source, "adapter": "continue"})
    assert problem in str(caught.value.violations)


async def test_an_imported_model_without_an_adapter_has_none_to_continue(driver: Driver) -> None:
    entries = [await put(driver.context, name, data) for name, data in model_folder.files().items()]
    await models.import_folder(driver.context, CALLER, "m", "", entries)
    with pytest.raises(InvalidInput) as caught:
        await driver.create("c", model={"source": "models/m", "adapter": "continue"})
    (violation,) = caught.value.violations
    assert violation.field == "spec.model.adapter"
    assert "models/m@1 has no adapter" in violation.description


async def test_results_are_reused_by_the_content_of_the_model(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await start_from(driver, "runs/a")
    await finish(driver, "b")
    assert states(await start_from(driver, "runs/a", "c"))[0] == "SUCCEEDED"


async def test_a_waiting_run_with_known_results_ends_with_its_source(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await start_from(driver, "runs/a")
    await finish(driver, "b")
    # The same results from another run, which is unfinished.
    await driver.create("again", cache=False)
    await start_from(driver, "runs/again", "c")
    await start_from(driver, "runs/c", "d", cache=False)
    await finish(driver, "again")
    assert (await driver.get("c")).run.state is RunState.SUCCEEDED
    assert await queued(driver, "d") == ["train"]


async def test_validation_names_the_wait_and_stores_nothing(driver: Driver) -> None:
    await driver.create("a")
    changed = spec(model={"source": "runs/a"})
    view = await driver.submit(CreateRun("b", changed, validate_only=True))
    assert states(view) == WAITING
    assert "runs/a, whose model" in view.stages[0].waiting_reason
    with pytest.raises(NotFound):
        await driver.get("b")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("runs/judges", "runs/judges trains no model"),
        ("runs/A", "is not a hub id"),
        ("runs/a@0", "is not a hub id"),
        ("runs/b@3", "starts from a checkpoint, too"),
    ],
)
async def test_sources_without_a_model_are_refused(
    driver: Driver, source: str, problem: str
) -> None:
    await driver.create("a")
    await save_checkpoint(driver, "a", 5)
    await start_from(driver, "runs/a@5", "b")
    without = {"train": None, "infer": {"eval_sets": ["eval_v1"]}}
    await start_from(driver, "runs/a@5", "judges", **without)
    with pytest.raises(InvalidInput) as caught:
        await start_from(driver, source, "c")
    assert problem in str(caught.value.violations)


async def test_a_missing_run_is_not_taken_for_a_model_of_the_hub(driver: Driver) -> None:
    with pytest.raises(NotFound, match="runs/nothing does not exist"):
        await start_from(driver, "runs/nothing")


async def test_no_run_waits_for_a_source_that_ended_meanwhile(driver: Driver) -> None:
    """Runs are created and retried while their source completes."""
    await driver.create("a")
    await start_from(driver, "runs/a", "early")
    await cancel_run(driver.context, CALLER, "early")
    for _ in range(2):
        await driver.complete(await driver.start("a"))
    order = await driver.start("a")
    names = [f"b{i}" for i in range(6)]
    creations = [start_from(driver, "runs/a", name) for name in names]
    retry = retry_run(driver.context, CALLER, "early", "")
    await asyncio.gather(*creations[:3], driver.complete(order), retry, *creations[3:])
    for name in (*names, "early"):
        assert await queued(driver, name) == ["train"]
