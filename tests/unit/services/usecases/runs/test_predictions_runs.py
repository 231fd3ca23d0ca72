"""Runs that judge the predictions of another run."""

from __future__ import annotations

from typing import Any

import pytest

from services.domain.errors import FailedPrecondition, InvalidInput, NotFound
from services.usecases.runs import read
from services.usecases.runs.view import RunView
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stages.test_cache import evaluation, run_through

ALONE = dict.fromkeys(("dataset", "model", "train", "infer"))


async def judge(driver: Driver, run_id: str, source: str = "runs/a", **changes: Any) -> RunView:
    return await driver.create(run_id, **ALONE | {"predictions": source} | changes)


async def test_judging_again_needs_no_other_stage(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    view = await judge(driver, "j", cache=False)
    assert [v.stage.stage_id for v in view.stages] == ["judge"]
    assert view.run.spec.get("train") is None
    # The stage process judges by the spec that generated the predictions.
    source_spec = (await driver.get("a")).run.resolved_spec
    for block in ("dataset", "model", "train", "infer"):
        assert getattr(view.run.resolved_spec, block) == getattr(source_spec, block)
    order = await driver.start("j")
    assert order.successor is None
    source = (await driver.get("a")).run.uid
    producers = {a.kind.value: a.producer for a in order.inputs.artifacts}
    assert set(producers) == {"dataset", "predictions", "split"}
    assert {p.run_uid for p in producers.values() if p is not None} == {source}
    await driver.publish(order, 1, evaluation(judge="answer_correctness", outcome="fail"))
    await driver.complete(order, last_event=1)
    assert (await driver.get("j")).run.state == "SUCCEEDED"
    paging = {"eval_set": "", "size": 0, "token": ""}
    bodies, _ = await read.list_verdicts(
        driver.context, CALLER, "j", judge="", outcome="", **paging
    )
    assert [body["outcome"] for body in bodies] == ["fail"]
    bodies, _ = await read.list_predictions(driver.context, CALLER, "j", **paging)
    assert [body["example_id"] for body in bodies] == ["1"]


async def test_specs_may_name_a_run_by_its_uid(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    uid = (await driver.get("a")).run.uid
    gate = {"name": "g", "metric": "score", "judge": "contains", "eval_set": "dataset:train"}
    view = await judge(
        driver,
        "j",
        f"runs/{uid}",
        judges=[{"name": "contains"}],
        gates=[{**gate, "baseline": f"runs/{uid}", "max_drop": 0.1}],
    )
    assert view.run.resolved_spec.predictions == "runs/a"
    assert view.run.resolved_spec.gates[0].baseline == "runs/a"


async def test_judging_as_the_run_did_is_known(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    view = await judge(driver, "j")
    assert view.stages[0].stage.cached_from == "runs/a/stages/judge"


async def test_a_run_that_only_judged_leads_to_the_one_that_predicted(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await judge(driver, "j", cache=False)
    view = await judge(driver, "k", "runs/j", cache=False)
    assert view.run.spec["predictions"] == "runs/j"
    assert view.run.resolved_spec.predictions == "runs/a"


async def test_predictions_that_were_reused_are_judged(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await driver.create("b")
    await judge(driver, "j", "runs/b", cache=False)
    order = await driver.start("j")
    assert len(order.inputs.artifacts) == 3
    bodies, _ = await read.list_predictions(
        driver.context, CALLER, "j", eval_set="", size=0, token=""
    )
    assert len(bodies) == 1


async def test_without_predictions_there_is_nothing_to_judge(driver: Driver) -> None:
    await driver.create("a")
    with pytest.raises(FailedPrecondition, match="INFER stage is not done") as error:
        await judge(driver, "j")
    assert error.value.reason == "NO_PREDICTIONS"
    with pytest.raises(NotFound, match="runs/nope"):
        await judge(driver, "j", "runs/nope")


async def test_blocks_of_the_other_run_are_not_given_again(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    with pytest.raises(InvalidInput) as error:
        await driver.create("j", predictions="runs/a")
    assert [v.field for v in error.value.violations] == [
        "spec.dataset",
        "spec.model",
        "spec.train",
        "spec.infer",
    ]
