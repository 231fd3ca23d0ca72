"""Baselines, gates and comparisons over stored runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from services.domain.errors import FailedPrecondition, InvalidInput, NotFound
from services.domain.event import Evaluation, MetricPoint
from services.usecases.runs import baselines
from services.usecases.runs.compare import compare_runs
from services.usecases.stages.complete import complete_stage
from tests.unit.services.driver import CALLER, MOMENT, Driver

JUDGE = "answer_correctness"
SET = "dataset:train"
WHERE = {"judge": JUDGE, "eval_set": SET}
SCORE = {"metric": "score", **WHERE}


def verdict(item: int, *, right: bool) -> Evaluation:
    key = (SET, f"i{item}", "trained", 0)
    body: dict[str, Any] = {"outcome": "pass" if right else "fail", "version": "1"}
    # Messages leave out a score of 0.
    return Evaluation(key, body | ({"score": 1.0} if right else {}), JUDGE)


async def judged(driver: Driver, run_id: str, right: int, total: int = 40, **spec: Any) -> Any:
    """A run whose judge passes the first ``right`` of ``total`` items."""
    await driver.create(run_id, cache=False, **spec)
    order = await driver.start(run_id)
    points = [MetricPoint("loss", i, 1.0 / i, MOMENT) for i in range(1, 1001)]
    await driver.publish(order, 1, *points)
    await driver.complete(order, last_event=1000)
    await driver.complete(await driver.start(run_id))
    order = await driver.start(run_id)
    await driver.publish(order, 1, *(verdict(i, right=i < right) for i in range(total)))
    score = {
        "judge": JUDGE,
        "version": "1",
        "eval_set": SET,
        "model_role": "trained",
        "passed": right,
        "total": total,
        "score": right / total,
    }
    report = await driver.completion(order, last_event=total)
    await complete_stage(
        driver.context, dataclasses.replace(report, result={"judge": {"scores": [score]}})
    )
    return await driver.get(run_id)


async def test_gates_are_checked_when_the_run_ends(driver: Driver) -> None:
    await judged(driver, "a", right=30)
    await baselines.set_baseline(driver.context, CALLER, "main", "a", "the first")
    gates = [
        {"name": "bar", **SCORE, "minimum": 0.5},
        {"name": "drop", **SCORE, "baseline": "baselines/main", "max_drop": 0.01},
        {"name": "test", **SCORE, "baseline": "runs/a", "not_significantly_worse": {}},
        {"name": "loss", "metric": "last_loss", "maximum": 1},
    ]
    view = await judged(driver, "b", right=25, gates=gates)
    assert view.run.state == "SUCCEEDED"
    gate_results = {gate["name"]: gate for gate in view.run.gates}
    outcomes = {name: gate["outcome"] for name, gate in gate_results.items()}
    assert outcomes == {
        "bar": "passed",
        "drop": "failed",
        # Five losses and no win: one-sided p is 1/2^5, below 0.05.
        "test": "failed",
        "loss": "passed",
    }
    assert gate_results["drop"]["value"] == 0.625
    assert gate_results["drop"]["baseline_value"] == 0.75
    # A baseline's name is resolved when the run is created.
    assert gate_results["drop"]["baseline"] == "runs/a"
    assert "difference -0.125 on 40 items" in gate_results["test"]["reason"]


async def test_what_cannot_be_measured_is_an_error_and_not_a_pass(driver: Driver) -> None:
    await driver.create("a", cache=False, judges=None)
    for _ in range(2):
        await driver.complete(await driver.start("a"))
    gates = [{"name": "drop", **SCORE, "baseline": "runs/a", "max_drop": 1}]
    view = await judged(driver, "b", right=25, gates=gates)
    assert view.run.gates is not None
    assert view.run.gates[0]["outcome"] == "error"
    assert "runs/a has no score" in view.run.gates[0]["reason"]


async def test_a_run_that_is_all_hits_is_checked_too(driver: Driver) -> None:
    await driver.create("a")
    for _ in range(3):
        await driver.complete(await driver.start("a"))
    gates = [{"name": "loss", "metric": "last_loss", "maximum": 0.1}]
    view = await driver.create("b", gates=gates)
    assert view.run.state == "SUCCEEDED"
    assert view.run.gates is not None
    assert view.run.gates[0]["outcome"] == "failed"


async def test_a_baseline_that_is_none_is_refused_at_once(driver: Driver) -> None:
    for baseline in ("baselines/no", "runs/no"):
        gates = [
            {"name": "bar", **SCORE, "minimum": 0},
            {"name": "g", **SCORE, "baseline": baseline, "max_drop": 1},
        ]
        says = rf"^spec\.gates\[1\]\.baseline: {baseline} does not exist"
        with pytest.raises(NotFound, match=says):
            await driver.create("b", gates=gates)


async def test_baselines_are_named_moved_listed_and_forgotten(driver: Driver) -> None:
    context = driver.context
    await judged(driver, "a", right=1, total=2)
    await judged(driver, "b", right=1, total=2)
    await driver.create("open", cache=False)
    baseline = await baselines.set_baseline(context, CALLER, "main", "a", "")
    assert await baselines.set_baseline(context, CALLER, "main", "a", "") == baseline
    moved = await baselines.set_baseline(context, CALLER, "main", "b", "new")
    assert (moved.run, moved.create_time) == ("runs/b", baseline.create_time)
    await baselines.set_baseline(context, CALLER, "other", "a", "")
    page, token = await baselines.list_baselines(context, CALLER, size=1, token="")
    rest, end = await baselines.list_baselines(context, CALLER, size=1, token=token)
    assert ([b.name for b in page + rest], end) == (["baselines/main", "baselines/other"], "")
    await baselines.delete_baseline(context, CALLER, "main")
    for call in (baselines.get_baseline, baselines.delete_baseline):
        with pytest.raises(NotFound):
            await call(context, CALLER, "main")
    with pytest.raises(FailedPrecondition, match="is QUEUED"):
        await baselines.set_baseline(context, CALLER, "main", "open", "")


async def test_runs_beside_each_other(driver: Driver) -> None:
    await judged(driver, "a", right=30)
    train = {"max_steps": 10, "learning_rate": 0.01, "eval_fraction": 0.2}
    await judged(driver, "b", right=20, total=50, train=train)
    comparison = await compare_runs(driver.context, CALLER, ["a", "b"])
    assert comparison.spec_differences == {"train.learning_rate": [2e-5, 0.01]}
    assert comparison.metrics["train.last_loss"] == [0.5, 0.5]
    assert comparison.metrics[f"score {JUDGE} {SET} trained"] == [0.75, 0.4]
    [compared] = comparison.verdicts
    assert (compared["shared"], compared["not_shared_first"], compared["not_shared"]) == (40, 0, 10)
    assert compared["comparison"]["losses"] == 10
    assert compared["comparison"]["wins"] == 0
    assert compared["comparison"]["p_value"] == pytest.approx(2 / 2**10)
    assert len(compared["changes"]) == 10
    assert [(c.run, c.name, len(c.points)) for c in comparison.curves] == [
        ("runs/a", "loss", 500),
        ("runs/b", "loss", 500),
    ]
    assert [comparison.curves[0].points[i].step for i in (0, -1)] == [1, 1000]


async def test_three_runs_each_against_the_first(driver: Driver) -> None:
    for run_id, right in (("a", 30), ("b", 20), ("c", 35)):
        await judged(driver, run_id, right=right)
    comparison = await compare_runs(driver.context, CALLER, ["b", "c", "a"])
    assert [view.run.run_id for view in comparison.runs] == ["b", "c", "a"]
    assert comparison.metrics[f"score {JUDGE} {SET} trained"] == [0.5, 0.875, 0.75]
    won = [(verdict["run"], verdict["comparison"]["wins"]) for verdict in comparison.verdicts]
    assert won == [("runs/c", 15), ("runs/a", 10)]
    assert [curve.run for curve in comparison.curves] == ["runs/b", "runs/c", "runs/a"]


async def test_what_cannot_be_compared_is_refused(driver: Driver) -> None:
    await driver.create("a")
    for names in (["a"], ["a"] * 2, [f"r{i}" for i in range(11)]):
        with pytest.raises(InvalidInput):
            await compare_runs(driver.context, CALLER, names)
    with pytest.raises(NotFound, match="runs/nope"):
        await compare_runs(driver.context, CALLER, ["a", "nope"])
