from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from services.domain.event import Channel, Evaluation, MetricPoint
from services.domain.stage import StageState
from services.storage.rows import outbox
from services.usecases.content.artifacts import list_for_run
from services.usecases.fleet.register import RegisterWorker, register_worker
from services.usecases.runs import read
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.follow import Follow, Piece, follow
from services.usecases.runs.retry import retry_run
from services.usecases.runs.view import RunView
from services.usecases.stages.acquire import Continue, Order, Stop
from services.usecases.stages.complete import complete_stage
from tailrace.formats.catalog import stage_versions_text
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.formats.spec.judge_spec import JUDGES
from tests.unit.services.driver import CALLER, MOMENT, RESULTS, Driver, line

STAGES = ["train", "infer", "judge"]
TWO_JUDGES = [{"name": "answer_correctness"}, {"name": "mine"}]


def evaluation(role: str = "trained", **verdict: Any) -> Evaluation:
    key = ("dataset:train", "1", role, 0)
    body = {"eval_set": key[0], "example_id": key[1], "model_role": role, "text": "a", **verdict}
    return Evaluation(key, body, verdict.get("judge"))


async def run_through(driver: Driver, run_id: str) -> None:
    """Complete the stages of a queued run, with a log line, a metric and records."""
    for stage in (await driver.get(run_id)).stages:
        order = await driver.start(run_id)
        point = MetricPoint("loss", 1, 0.5, MOMENT)
        kind = order.stage.stage_id
        events = {
            "train": [line("trains"), point],
            "infer": [evaluation()],
            "judge": [evaluation(judge="answer_correctness", outcome="pass")],
        }[kind]
        await driver.publish(order, 1, *events)
        await driver.complete(order, last_event=len(events))
        assert stage.stage.stage_id == kind


async def register(driver: Driver, worker_id: str = "w1", **changes: Any) -> None:
    fields: dict[str, Any] = {
        "worker_id": worker_id,
        "hostname": "host",
        "pools": ["cpu"],
        "slots": [{"id": "cpu-0"}],
        "versions": {"stages": stage_versions_text()},
        "judges": {},
        "protocol_version": PROTOCOL_VERSION,
        "instance_id": driver.instance_id,
        "new_process": False,
    }
    registration = await register_worker(driver.context, RegisterWorker(**fields | changes))
    if worker_id == driver.worker_id:
        driver.secret = registration.secret


def states(view: RunView) -> list[str]:
    return [view_stage.stage.state.value for view_stage in view.stages]


async def queued(driver: Driver, view: RunView) -> set[str]:
    async with driver.context.database.read() as conn:
        return set(await outbox.list_publications(conn, view.run.uid))


async def pieces(driver: Driver, run_id: str, channel: Channel) -> list[Piece]:
    command = Follow(channel, "", follow=True)
    return [piece async for piece in follow(driver.context, CALLER, run_id, command)]


async def test_an_identical_run_is_all_hits_and_done_at_once(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    again = await driver.create("b")
    assert again.run.state == "SUCCEEDED"
    assert again.run.end_time is not None
    assert states(again) == ["SKIPPED"] * 3
    assert [v.stage.cached_from for v in again.stages] == [f"runs/a/stages/{s}" for s in STAGES]
    assert [v.stage.result for v in again.stages] == [RESULTS[s] for s in STAGES]
    assert all(v.attempts == [] and v.stage.cache_key for v in again.stages)
    assert await queued(driver, again) == set()


async def test_what_was_reused_is_listed_for_the_new_run(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await driver.create("b")
    paging = {"eval_set": "", "size": 0, "token": ""}
    for run_id in "ab":
        predictions, _ = await read.list_predictions(driver.context, CALLER, run_id, **paging)
        assert [body["example_id"] for body in predictions] == ["1"]
        verdicts, _ = await read.list_verdicts(
            driver.context, CALLER, run_id, judge="", outcome="", **paging
        )
        assert [body["judge"] for body in verdicts] == ["answer_correctness"]
    listed = [
        await list_for_run(driver.context, CALLER, run_id, kind=None, size=0, token="")
        for run_id in "ab"
    ]
    first, second = ([(a.kind, a.name) for a in page] for page, _ in listed)
    assert first == second
    assert {a.producer.run_id for a in listed[1][0] if a.producer} == {"b"}


async def test_readers_of_a_reused_stage_get_an_end(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await driver.create("b")
    ends = await pieces(driver, "b", Channel.LOGS)
    assert [(p.stage_id, p.attempt, p.cached_from) for p in ends] == [
        (stage, 0, f"runs/a/stages/{stage}") for stage in STAGES
    ]
    assert all(p.end is not None and p.end.count == 0 for p in ends)
    rest = Follow(Channel.LOGS, ends[0].cursor.encode(), follow=True)
    later = [p.stage_id async for p in follow(driver.context, CALLER, "b", rest)]
    assert later == STAGES[1:]
    points = [r for p in await pieces(driver, "b", Channel.METRICS) for r in p.records]
    assert points == [r for p in await pieces(driver, "a", Channel.METRICS) for r in p.records]
    assert len(points) == 1


async def test_another_judge_costs_judging_alone(driver: Driver) -> None:
    await register(driver, judges={"mine": "3"})
    await driver.create("a")
    await run_through(driver, "a")
    view = await driver.create("b", judges=TWO_JUDGES)
    assert states(view) == ["SKIPPED", "SKIPPED", "QUEUED"]
    assert await queued(driver, view) == {"judge"}
    order = await driver.start("b")
    assert {a.kind.value for a in order.inputs.artifacts} == {"dataset", "predictions", "split"}
    assert await driver.complete(order) is False
    assert (await driver.get("b")).run.state == "SUCCEEDED"


async def test_another_version_of_a_judge_costs_judging_alone(driver: Driver) -> None:
    await register(driver, judges={"mine": "3"})
    await driver.create("a", judges=TWO_JUDGES)
    await run_through(driver, "a")
    assert states(await driver.create("b", judges=TWO_JUDGES)) == ["SKIPPED"] * 3
    await register(driver, judges={"mine": "4"})
    assert states(await driver.create("c", judges=TWO_JUDGES)) == ["SKIPPED", "SKIPPED", "QUEUED"]
    # It is unknown which of two versions will judge.
    await register(driver, "w2", judges={"mine": "3"})
    assert states(await driver.create("d", judges=TWO_JUDGES))[2] == "QUEUED"


async def test_a_reused_successor_stops_the_chain(driver: Driver) -> None:
    await register(driver, judges={"mine": "3"})
    await driver.create("a")
    await run_through(driver, "a")
    train = {"max_steps": 11, "eval_fraction": 0.2}
    await driver.create("b", train=train, judges=TWO_JUDGES)
    order = await driver.start("b")
    assert order.successor is not None
    assert order.successor.stage == "infer"
    # The other training produced the same model, so the predictions are reused.
    report = await driver.completion(order)
    assert await complete_stage(driver.context, report) is False
    assert await complete_stage(driver.context, report) is False
    view = await driver.get("b")
    assert states(view) == ["SUCCEEDED", "SKIPPED", "QUEUED"]
    assert await queued(driver, view) == {"judge"}
    answer = await driver.deliver(order.stage.task_id)
    assert isinstance(answer, Stop)
    # A chain that was sent on nevertheless reaches the right stage.
    answer = await driver.deliver(order.successor)
    assert answer == Continue(view.stages[2].stage.task_id)


async def test_a_run_ends_when_its_last_stages_are_known(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await driver.create("b", train={"max_steps": 11, "eval_fraction": 0.2})
    assert await driver.complete(await driver.start("b")) is False
    view = await driver.get("b")
    assert view.run.state == "SUCCEEDED"
    assert states(view) == ["SUCCEEDED", "SKIPPED", "SKIPPED"]


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": False},
        {"train": {"max_steps": 10, "eval_fraction": 0.2, "seed": 7}},
        {"model": {"source": "distilgpt2"}},
    ],
)
async def test_other_runs_and_those_that_want_none_reuse_nothing(
    driver: Driver, changes: dict[str, Any]
) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    assert states(await driver.create("b", **changes)) == ["QUEUED", "PENDING", "PENDING"]


async def test_a_run_without_a_cache_is_no_source(driver: Driver) -> None:
    await driver.create("a", cache=False)
    await run_through(driver, "a")
    assert states(await driver.create("b"))[0] == "QUEUED"


async def test_what_failed_or_came_of_other_code_is_no_source(driver: Driver) -> None:
    await driver.create("a")
    await driver.fail(await driver.start("a"), retryable=False)
    assert states(await driver.create("b"))[0] == "QUEUED"
    await register(driver, versions={"stages": "train 0"})
    await driver.complete(await driver.start("b"))
    assert states(await driver.create("c"))[0] == "QUEUED"


async def test_a_judge_of_another_version_than_known_here_is_no_source(driver: Driver) -> None:
    await driver.create("a")
    await driver.complete(await driver.start("a"))
    await driver.complete(await driver.start("a"))
    order = await driver.start("a")
    other = {"judge": {"scores": [{"judge": "answer_correctness", "version": "0"}]}}
    report = dataclasses.replace(await driver.completion(order), result=other)
    await complete_stage(driver.context, report)
    assert states(await driver.create("b")) == ["SKIPPED", "SKIPPED", "QUEUED"]


@pytest.mark.parametrize(("judging", "state"), [("mine 3", "SKIPPED"), ("mine 4", "QUEUED")])
async def test_a_judge_upgraded_after_queueing_is_no_source_for_its_old_version(
    driver: Driver, judging: str, state: str
) -> None:
    await register(driver, judges={"mine": "mine 3"})
    await driver.create("a", judges=TWO_JUDGES)
    await driver.complete(await driver.start("a"))
    await driver.complete(await driver.start("a"))
    await register(driver, judges={"mine": judging})
    order = await driver.start("a")
    # The version in the verdicts differs from that of the package.
    versions = {"answer_correctness": JUDGES["answer_correctness"], "mine": "17"}
    scores = [{"judge": name, "version": version} for name, version in versions.items()]
    stage_result = {"judge": {"scores": scores}}
    report = dataclasses.replace(await driver.completion(order), result=stage_result)
    await complete_stage(driver.context, report)
    await register(driver, judges={"mine": "mine 3"})
    assert states(await driver.create("b", judges=TWO_JUDGES)) == ["SKIPPED", "SKIPPED", state]


async def test_results_whose_content_is_gone_are_made_again(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    page, _ = await list_for_run(driver.context, CALLER, "a", kind=None, size=0, token="")
    predictions = next(a for a in page if a.kind == "predictions")
    gone = predictions.listing.files[0].sha256
    [path] = [p for p in driver.context.settings.data_dir.rglob("*") if p.name == gone]
    path.unlink()
    assert states(await driver.create("b")) == ["SKIPPED", "QUEUED", "PENDING"]


async def test_a_reused_result_is_found_from_its_source(driver: Driver) -> None:
    await driver.create("a")
    await run_through(driver, "a")
    await driver.create("b")
    third = await driver.create("c")
    assert third.stages[0].stage.cached_from == "runs/a/stages/train"


async def test_a_cancelled_run_with_reused_stages_is_retried(driver: Driver) -> None:
    await register(driver, judges={"mine": "3"})
    await driver.create("a")
    await run_through(driver, "a")
    await driver.create("b", judges=TWO_JUDGES)
    view = await cancel_run(driver.context, CALLER, "b")
    assert states(view) == ["SKIPPED", "SKIPPED", "CANCELLED"]
    view = await retry_run(driver.context, CALLER, "b", "")
    assert states(view) == ["SKIPPED", "SKIPPED", "QUEUED"]
    order = await driver.start("b")
    assert isinstance(order, Order)
    await driver.complete(order)
    assert (await driver.get("b")).stages[2].stage.state is StageState.SUCCEEDED
