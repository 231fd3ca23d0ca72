"""Models that are promoted from runs, their aliases and their lineage."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.api.convert.model import lineage_to_proto
from services.domain.content.model import Model
from services.domain.errors import FailedPrecondition, InvalidInput, NotFound
from services.domain.run import RunState
from services.domain.stage import StageState
from services.usecases.content import datasets, models
from services.usecases.content.promotion import Promotion, history_of, promote, set_alias
from services.usecases.stages.complete import complete_stage
from services.usecases.stages.inputs import InputRole
from tailrace.formats.spec.run_spec import StageKind
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stored_content import make_context

GATE = {"name": "loss", "metric": "last_loss"}
CONFIG = json.dumps({"architectures": ["GPT2LMHeadModel"]}).encode()
SCORE = {
    "judge": "answer_correctness",
    "eval_set": "dataset:held_out",
    "score": 0.9,
    "interval_low": 0.8,
    "interval_high": 0.95,
}


@pytest.fixture
async def driver(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    context = make_context(empty_database_url, tmp_path / "data")
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    yield driver
    await context.database.close()


async def finish(driver: Driver, run_id: str, weights: bytes = b"weights", **spec: Any) -> None:
    """Run through all stages; the model has a config.json, the judges a score."""
    await driver.create(run_id, **spec)
    while (await driver.get(run_id)).run.state is not RunState.SUCCEEDED:
        order = await driver.start(run_id)
        report = await driver.completion(order)
        if order.stage.kind is StageKind.TRAIN:
            files = [
                await driver.upload("config.json", CONFIG),
                await driver.upload("model.safetensors", weights),
            ]
            model, *others = report.artifacts
            changed = dataclasses.replace(model, files=files)
            report = dataclasses.replace(report, artifacts=[changed, *others])
        if order.stage.kind is StageKind.JUDGE:
            report = dataclasses.replace(report, result={"judge": {"scores": [SCORE]}})
        await complete_stage(driver.context, report)


async def promoted(driver: Driver, run_id: str, **changes: Any) -> Model:
    fields: dict[str, Any] = {"description": "", "force": False, "reason": ""} | changes
    command = Promotion(run_id=run_id, model_id="support", **fields)
    return await promote(driver.context, CALLER, command)


async def test_runs_that_pass_their_gates_become_versions(driver: Driver) -> None:
    for run_id in ("a", "b"):
        gates = [{**GATE, "maximum": 1.0}]
        await finish(driver, run_id, run_id.encode(), gates=gates, cache=False)
    first, again, second = [await promoted(driver, run_id) for run_id in ("a", "a", "b")]
    assert (first.versioned_name, first.architecture) == ("models/support@1", "GPT2LMHeadModel")
    assert again == first
    assert second.version == 2
    assert await models.get(driver.context, CALLER, "models/support") == second
    assert await models.get(driver.context, CALLER, "models/support@1") == first


async def test_gates_are_passed_over_by_force_with_a_reason(driver: Driver) -> None:
    await finish(driver, "none")
    await finish(driver, "missed", gates=[{**GATE, "maximum": 0.1}], cache=False)
    for run_id, problem in (("none", "has no gates"), ("missed", "did not pass loss")):
        with pytest.raises(FailedPrecondition, match=problem) as caught:
            await promoted(driver, run_id)
        assert caught.value.reason == "GATES_NOT_PASSED"
    with pytest.raises(InvalidInput):
        await promoted(driver, "none", force=True)
    model = await promoted(driver, "missed", force=True, reason="A demo.")
    assert model.force_reason == "A demo."


async def test_runs_without_a_final_model_are_refused(driver: Driver) -> None:
    await driver.create("queued")
    with pytest.raises(FailedPrecondition, match="only SUCCEEDED runs are promoted"):
        await promoted(driver, "queued", force=True, reason="x")
    with pytest.raises(NotFound):
        await promoted(driver, "nothing")


async def test_an_alias_moves_in_one_step_and_keeps_its_history(driver: Driver) -> None:
    for run_id in ("a", "b"):
        await finish(driver, run_id, run_id.encode(), cache=False)
        await promoted(driver, run_id, force=True, reason="x")
    for version in (1, 2, 2, 0, 1):
        await set_alias(driver.context, CALLER, "models/support", "prod", version)
    model = await models.get(driver.context, CALLER, "models/support@prod")
    assert model.version == 1
    _, moves = await history_of(driver.context, CALLER, model)
    assert [(m.from_version, m.to_version) for m in moves] == [(0, 1), (1, 2), (2, 0), (0, 1)]
    with pytest.raises(NotFound, match="support@3 does not exist"):
        await set_alias(driver.context, CALLER, "models/support", "prod", 3)
    with pytest.raises(NotFound, match="no alias 'test'"):
        await models.get(driver.context, CALLER, "models/support@test")
    with pytest.raises(InvalidInput):
        await set_alias(driver.context, CALLER, "models/support@2", "prod", 1)


async def test_runs_keep_the_version_that_their_source_named(driver: Driver) -> None:
    for run_id in ("a", "b"):
        await finish(driver, run_id, run_id.encode(), cache=False)
        await promoted(driver, run_id, force=True, reason="x")
    await set_alias(driver.context, CALLER, "models/support", "prod", 1)
    await driver.create("c", model={"source": "models/support@prod"}, cache=False)
    await set_alias(driver.context, CALLER, "models/support", "prod", 2)
    run = (await driver.get("c")).run
    assert run.resolved_spec.model is not None
    assert run.resolved_spec.model.source == "models/support@1"
    order = await driver.start("c")
    (model,) = (a for a in order.inputs.artifacts if a.kind.value == "model")
    first = await models.get(driver.context, CALLER, "models/support@1")
    assert model.listing == first.artifact.listing


async def test_lineage_names_every_training_on_the_way(driver: Driver) -> None:
    await finish(driver, "sft")
    await promoted(driver, "sft", force=True, reason="x")
    await finish(driver, "more", b"more", model={"source": "models/support@1"}, cache=False)
    await finish(driver, "last", b"last", model={"source": "runs/more"}, cache=False)
    model = await promoted(driver, "last", force=True, reason="x")
    steps, _ = await history_of(driver.context, CALLER, model)
    assert [(step.run and step.run.run_id, step.model, step.base) for step in steps] == [
        ("last", "models/support@2", "runs/more"),
        ("more", "", "models/support@1"),
        ("sft", "models/support@1", "gpt2-nano"),
    ]
    assert steps[0].scores == [SCORE]


async def test_promotions_at_the_same_time_get_different_versions(driver: Driver) -> None:
    for run_id in ("a", "b", "c"):
        await finish(driver, run_id, run_id.encode(), cache=False)
    made = await asyncio.gather(
        *(promoted(driver, run_id, force=True, reason="x") for run_id in ("a", "b", "c"))
    )
    assert sorted(model.version for model in made) == [1, 2, 3]


async def test_a_distillation_reads_the_version_of_its_teacher(driver: Driver) -> None:
    for run_id in ("a", "b"):
        await finish(driver, run_id, run_id.encode(), cache=False)
        await promoted(driver, run_id, force=True, reason="x")
    runs = {}
    for run_id, teacher in (("c", "support@1"), ("d", "support")):
        train = {"max_steps": 10, "distill": {"teacher": f"models/{teacher}"}}
        await driver.create(run_id, train=train, infer=None, judges=None)
        order = await driver.start(run_id)
        (named,) = order.inputs.named
        runs[run_id] = ((await driver.get(run_id)), named)
        await driver.complete(order)
    for version, run_id in ((1, "c"), (2, "d")):
        view, named = runs[run_id]
        train_spec = view.run.resolved_spec.train
        assert train_spec is not None
        assert train_spec.distill is not None
        assert train_spec.distill.teacher == f"models/support@{version}"
        model = await models.get(driver.context, CALLER, f"models/support@{version}")
        assert (named.role, named.artifact.listing) == (InputRole.TEACHER, model.artifact.listing)
    # The teacher's content is a part of the key: another version trains another model.
    assert runs["c"][0].stages[0].stage.cache_key != runs["d"][0].stages[0].stage.cache_key
    again = {"max_steps": 10, "distill": {"teacher": "models/support@2"}}
    view = await driver.create("e", train=again, infer=None, judges=None)
    assert view.stages[0].stage.state is StageState.SKIPPED
    unknown = {"max_steps": 10, "distill": {"teacher": "models/nope"}}
    with pytest.raises(NotFound, match="nope"):
        await driver.create("f", train=unknown, infer=None, judges=None)


async def test_lineage_names_teachers(driver: Driver) -> None:
    await finish(driver, "a")
    await promoted(driver, "a", force=True, reason="x")
    train = {"max_steps": 10, "distill": {"teacher": "models/support"}}
    await finish(driver, "b", b"b", train=train, infer=None, judges=None)
    model = await promoted(driver, "b", force=True, reason="x")
    steps, _ = await history_of(driver.context, CALLER, model)
    assert [lineage_to_proto(step).teacher for step in steps] == ["models/support@1"]
