from __future__ import annotations

from typing import Any

import pytest

from services.domain.errors import FailedPrecondition, InvalidInput
from services.usecases.fleet.register import RegisterWorker, register_worker
from services.usecases.fleet.workers import list_workers
from services.usecases.runs.read import ListRuns, list_runs
from services.usecases.stages.expire import expire_worker
from tests.unit.services.driver import CALLER, Driver


async def names(driver: Driver, filter_text: str = "", **changes: Any) -> list[str]:
    command = ListRuns(**{"filter": filter_text, "order_by": "", "size": 0, "token": "", **changes})
    views, _token = await list_runs(driver.context, CALLER, command)
    return [view.run.run_id for view in views]


async def test_runs_are_listed_newest_first_by_page(driver: Driver) -> None:
    for i in range(5):
        await driver.create(f"r{i}")
    assert await names(driver) == ["r4", "r3", "r2", "r1", "r0"]
    assert await names(driver, order_by="create_time") == ["r0", "r1", "r2", "r3", "r4"]
    command = ListRuns("", "", 2, "")
    pages = []
    while True:
        views, token = await list_runs(driver.context, CALLER, command)
        pages.append([view.run.run_id for view in views])
        if not token:
            break
        command = ListRuns("", "", 2, token)
    assert pages == [["r4", "r3"], ["r2", "r1"], ["r0"]]
    assert [view.stage.stage_id for view in views[0].stages] == ["train", "infer", "judge"]


async def test_runs_are_filtered(driver: Driver) -> None:
    await driver.create("a", labels={"team": "x", "tier": "1"})
    await driver.create("b", labels={"team": "y"})
    await driver.create("c")
    await driver.start("b")
    assert await names(driver, 'labels.team = "x"') == ["a"]
    assert await names(driver, "state = RUNNING") == ["b"]
    assert await names(driver, 'state = QUEUED AND labels.tier = "1"') == ["a"]
    assert await names(driver, 'create_time > "2020-01-01T00:00:00Z"') == ["c", "b", "a"]
    assert await names(driver, 'state = RUNNING AND labels.team = "y"') == ["b"]
    assert await names(driver, 'state = QUEUED AND labels.team = "y"') == []
    assert await names(driver, 'labels.tier = "1" AND labels.team = "x"') == ["a"]
    assert await names(driver, 'labels.tier = "1" AND labels.team = "y"') == []
    created = (await driver.get("b")).run.create_time.isoformat()
    assert await names(driver, f'create_time <= "{created}"') == ["b", "a"]
    assert await names(driver, f'create_time < "{created}" AND labels.team = "x"') == ["a"]


async def test_a_uid_finds_its_run(driver: Driver) -> None:
    uid = (await driver.create("a", labels={"team": "x"})).run.uid
    await driver.create("b", labels={"team": "x"})
    assert await names(driver, f'uid = "{uid}"') == ["a"]
    assert await names(driver, f'uid = {uid} AND labels.team = "x"') == ["a"]
    assert await names(driver, f'uid = {uid} AND labels.team = "y"') == []
    assert await names(driver, f"uid = {'0' * 32}") == []


async def test_pages_of_a_label_continue_where_the_last_one_ended(driver: Driver) -> None:
    for i in range(5):
        await driver.create(f"r{i}", labels={"team": "x", "odd": str(i % 2)})
    query = 'labels.team = "x" AND labels.odd = "0"'
    command = ListRuns(query, "", 2, "")
    views, token = await list_runs(driver.context, CALLER, command)
    assert [view.run.run_id for view in views] == ["r4", "r2"]
    views, token = await list_runs(driver.context, CALLER, ListRuns(query, "", 2, token))
    assert ([view.run.run_id for view in views], token) == (["r0"], "")


async def ended(driver: Driver, run_id: str, loss: float, score: float, **spec: Any) -> None:
    """Complete a run with a loss and a score."""
    await driver.create(run_id, cache=False, **spec)
    await driver.complete(await driver.start(run_id), {"last_loss": loss})
    await driver.complete(await driver.start(run_id))
    roles = {"base": score / 2, "trained": score}
    scores = [
        {"judge": "j", "version": "1", "eval_set": "e@1", "model_role": role, "score": value}
        for role, value in roles.items()
    ]
    await driver.complete(await driver.start(run_id), {"scores": scores})


async def test_runs_are_sorted_by_their_figures(driver: Driver) -> None:
    for run_id, loss, score in (("a", 2.5, 0.25), ("b", 0.5, 0.75), ("c", 1.5, 0.5)):
        await ended(driver, run_id, loss, score)
    await driver.create("unfinished")
    assert await names(driver, order_by="loss") == ["b", "c", "a"]
    assert await names(driver, order_by="score desc") == ["b", "c", "a"]
    assert set(await names(driver, order_by="duration")) == {"a", "b", "c"}
    best = {"filter_text": 'eval_set = "e@1" AND judge = j', "order_by": "score desc"}
    assert await names(driver, **best) == ["b", "c", "a"]
    assert await names(driver, 'eval_set = "other"', order_by="score desc") == []
    assert await names(driver, "judge = j") == ["c", "b", "a"]
    views, token = await list_runs(driver.context, CALLER, ListRuns("", "loss", 2, ""))
    assert [view.run.run_id for view in views] == ["b", "c"]
    views, token = await list_runs(driver.context, CALLER, ListRuns("", "loss", 2, token))
    assert ([view.run.run_id for view in views], token) == (["a"], "")


async def test_runs_are_found_by_dataset_and_model(driver: Driver) -> None:
    await driver.create("a", labels={"team": "x"})
    run = (await driver.get("a")).run
    dataset, _, version = run.resolved_spec.dataset.partition("@")
    assert version
    assert await names(driver, f'dataset = "{dataset}"') == ["a"]
    assert await names(driver, f'dataset = "{dataset}" AND labels.team = x') == ["a"]
    assert await names(driver, "dataset = other") == []
    assert await names(driver, f'model = "{run.resolved_spec.model.preset}"') == ["a"]


async def test_a_list_names_the_slot_of_a_running_stage(driver: Driver) -> None:
    await driver.create("a")
    await driver.start("a")
    views, _ = await list_runs(driver.context, CALLER, ListRuns("", "", 0, ""))
    (attempt,) = views[0].stages[0].attempts
    assert attempt.slot
    assert not views[0].stages[1].attempts


async def test_wrong_listings_are_refused(driver: Driver) -> None:
    await driver.create("a")
    await driver.create("b")
    _views, token = await list_runs(driver.context, CALLER, ListRuns("", "", 1, ""))
    for command in (
        ListRuns("", "name", 0, ""),
        ListRuns("", "", -1, ""),
        ListRuns("", "", 0, "nonsense"),
        ListRuns("state = RUNNING", "", 0, token),
    ):
        with pytest.raises(InvalidInput):
            await list_runs(driver.context, CALLER, command)


async def test_a_stage_says_why_it_waits(driver: Driver) -> None:
    await driver.create("gpu", execution={"train": {"pool": "gpu"}})
    reason = (await driver.get("gpu")).stages[0].waiting_reason
    assert reason.startswith("no live worker serves pool 'gpu'")
    assert "execution.train.pool (served now: cpu)" in reason
    await driver.create("a")
    await driver.create("b")
    assert (await driver.get("a")).stages[0].waiting_reason == ""
    await driver.start("a")
    assert (await driver.get("b")).stages[0].waiting_reason == "the slot of pool 'cpu' is busy"


async def test_a_stage_that_waits_for_its_retry_says_until_when(driver: Driver) -> None:
    await driver.create(retry={"initial_backoff": 60.0, "max_attempts": 2})
    await driver.fail(await driver.start())
    assert (await driver.get()).stages[0].waiting_reason.startswith("attempt 2 is due at ")


async def test_workers_show_what_they_run(driver: Driver) -> None:
    await driver.create()
    await driver.start()
    await Driver(driver.context, "a0").register(slots=2)
    first, token = await list_workers(driver.context, CALLER, size=1, token="")
    assert [view.worker.worker_id for view in first] == ["a0"]
    second, token = await list_workers(driver.context, CALLER, size=1, token=token)
    assert second[0].occupied == {"cpu-0": "runs/r/stages/train"}
    assert token == ""
    assert await expire_worker(driver.context, first[0].worker)
    assert not await expire_worker(driver.context, first[0].worker)


async def test_a_worker_that_speaks_another_protocol_is_refused(driver: Driver) -> None:
    slots = [{"id": "cpu-0"}]
    with pytest.raises(FailedPrecondition, match="speaks protocol 99") as error:
        await register_worker(
            driver.context,
            RegisterWorker("w9", "host", ["cpu"], slots, {}, {}, 99, "x" * 16, True),
        )
    assert error.value.reason == "PROTOCOL_UNSUPPORTED"
    with pytest.raises(InvalidInput) as wrong:
        await register_worker(
            driver.context, RegisterWorker("W", "host", [], slots * 2, {}, {}, 1, "short", True)
        )
    fields = {"worker_id", "pools", "slots[1].id", "instance_id"}
    assert {v.field for v in wrong.value.violations} == fields
