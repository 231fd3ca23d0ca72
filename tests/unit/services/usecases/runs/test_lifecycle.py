"""Runs from creation to their end: complete, fail, release, expire, cancel, retry."""

from __future__ import annotations

import dataclasses

import pytest

from services.domain.directive import Directive, StopReason
from services.domain.errors import FailedPrecondition, InvalidInput, LeaseLost
from services.storage.rows import attempts, outbox
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.retry import retry_run
from services.usecases.stages.acquire import Continue, Order, Stop, confirm_dispatch
from services.usecases.stages.complete import complete_stage
from services.usecases.stages.expire import expire_attempt
from tailrace.formats.stage_protocol import ArtifactKind
from tests.unit.services.driver import CALLER, Driver, states


async def due(driver: Driver) -> dict[str, int]:
    """Publications of each queued stage."""
    uid = (await driver.get()).run.uid
    async with driver.context.database.read() as conn:
        entries = await outbox.list_publications(conn, uid)
    return {stage: entry.publications for stage, entry in entries.items()}


async def test_a_run_succeeds_stage_by_stage(driver: Driver) -> None:
    created = await driver.create()
    assert states(created) == ("QUEUED", "QUEUED", "PENDING", "PENDING")
    assert created.run.resolved_spec.dataset == "golden-v2@1"
    train = await driver.start()
    assert [a.kind for a in train.inputs.artifacts] == [ArtifactKind.DATASET]
    assert await driver.complete(train)
    infer = await driver.start()
    kinds = {a.kind for a in infer.inputs.artifacts}
    assert kinds == {ArtifactKind.DATASET, ArtifactKind.MODEL, ArtifactKind.SPLIT}
    assert infer.successor == (await driver.get()).stages[2].stage.task_id
    assert await driver.complete(infer)
    judge = await driver.start()
    kinds = {a.kind for a in judge.inputs.artifacts}
    assert kinds == {ArtifactKind.DATASET, ArtifactKind.PREDICTIONS, ArtifactKind.SPLIT}
    assert judge.successor is None
    assert not await driver.complete(judge)
    done = await driver.get()
    assert states(done) == ("SUCCEEDED",) * 4
    assert done.run.end_time is not None
    assert done.stages[0].stage.result == {
        "train": {"steps": 10, "first_loss": 3.5, "last_loss": 0.5}
    }
    assert await due(driver) == {}
    assert await driver.history() == [
        ("", "", "QUEUED"),
        ("train", "QUEUED", "RUNNING"),
        ("", "QUEUED", "RUNNING"),
        ("train", "RUNNING", "SUCCEEDED"),
        ("infer", "PENDING", "QUEUED"),
        ("infer", "QUEUED", "RUNNING"),
        ("infer", "RUNNING", "SUCCEEDED"),
        ("judge", "PENDING", "QUEUED"),
        ("judge", "QUEUED", "RUNNING"),
        ("judge", "RUNNING", "SUCCEEDED"),
        ("", "RUNNING", "SUCCEEDED"),
    ]


async def test_a_delivery_is_granted_once_and_its_repeat_gets_the_same_lease(
    driver: Driver,
) -> None:
    await driver.create()
    task = await driver.queued_task()
    first = await driver.deliver(task, "delivery-one-0123456789")
    again = await driver.deliver(task, "delivery-one-0123456789")
    assert isinstance(first, Order)
    assert isinstance(again, Order)
    assert again.lease == first.lease
    assert await driver.deliver(task) == Stop(StopReason.RUNNING_ELSEWHERE)


async def test_late_and_unknown_deliveries_stop(driver: Driver) -> None:
    await driver.create()
    task = await driver.queued_task()
    assert await driver.deliver(dataclasses.replace(task, run_uid="0" * 32)) == Stop(
        StopReason.UNKNOWN
    )
    assert await driver.deliver(dataclasses.replace(task, stage="nap")) == Stop(StopReason.UNKNOWN)
    assert await driver.deliver(dataclasses.replace(task, attempt=2)) == Stop(StopReason.STALE)
    pending = (await driver.get()).stages[1].stage.task_id
    assert await driver.deliver(pending) == Stop(StopReason.STALE)


async def test_a_delivery_of_a_finished_stage_lets_the_chain_go_on(driver: Driver) -> None:
    await driver.create()
    task = await driver.queued_task()
    await driver.complete(await driver.start())
    infer = await driver.queued_task()
    assert await driver.deliver(task) == Continue(infer)
    await driver.start()
    assert await driver.deliver(task) == Stop(StopReason.STALE)


async def test_a_draining_worker_gets_nothing(driver: Driver) -> None:
    await driver.create()
    assert (await driver.beat(draining=True))[1] is Directive.DRAIN
    assert await driver.deliver(await driver.queued_task()) == Stop(StopReason.DRAINING)
    # Its next process takes stages again.
    await driver.register()
    assert (await driver.beat()) == (
        [],
        Directive.CONTINUE,
    )
    await driver.start()


async def test_completing_twice_gives_the_same_answer(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    report = await driver.completion(order)
    assert await complete_stage(driver.context, report)
    await driver.start()
    assert await complete_stage(driver.context, report)
    assert states(await driver.get()) == ("RUNNING", "SUCCEEDED", "RUNNING", "PENDING")


async def test_a_chain_with_another_successor_stops(driver: Driver) -> None:
    await driver.create()
    report = await driver.completion(await driver.start())
    other = dataclasses.replace(report, successor_task_id="other.infer.1")
    assert not await complete_stage(driver.context, other)
    assert await due(driver) == {"infer": 0}


async def test_confirming_a_dispatch_counts_as_publication(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    await driver.complete(order)
    assert await due(driver) == {"infer": 0}
    await confirm_dispatch(driver.context, str(order.successor))
    await confirm_dispatch(driver.context, str(order.successor))
    await confirm_dispatch(driver.context, "0" * 32 + ".infer.1")
    assert await due(driver) == {"infer": 1}
    with pytest.raises(InvalidInput, match="task_id"):
        await confirm_dispatch(driver.context, "no task")


async def test_a_completion_needs_its_events_blobs_and_artifacts(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    report = await driver.completion(order)
    with pytest.raises(FailedPrecondition) as missing:
        await complete_stage(driver.context, dataclasses.replace(report, last_event_sequence=3))
    assert missing.value.reason == "EVENTS_MISSING"
    with pytest.raises(InvalidInput, match="artifacts: lacks one of kind model"):
        await complete_stage(driver.context, dataclasses.replace(report, artifacts=[]))
    with pytest.raises(InvalidInput, match="result: must be that of a train stage"):
        await complete_stage(driver.context, dataclasses.replace(report, result={"infer": {}}))
    assert states(await driver.get()) == ("RUNNING", "RUNNING", "PENDING", "PENDING")


async def test_a_retryable_failure_queues_another_attempt_until_the_limit(driver: Driver) -> None:
    await driver.create()
    first = await driver.start()
    assert await driver.fail(first)
    assert await driver.fail(first)
    failed = await driver.get()
    assert states(failed) == ("RUNNING", "QUEUED", "PENDING", "PENDING")
    assert failed.stages[0].stage.attempt == 2
    assert failed.stages[0].stage.error is not None
    assert await driver.deliver(first.stage.task_id) == Stop(StopReason.STALE)
    second = await driver.start()
    assert not await driver.fail(second)
    ended = await driver.get()
    assert states(ended) == ("FAILED", "FAILED", "PENDING", "PENDING")
    assert ended.error is not None
    assert ended.error.reason == "STAGE_CRASHED"
    assert [a.state.value for a in ended.stages[0].attempts] == ["FAILED", "FAILED"]
    with pytest.raises(LeaseLost):
        await driver.complete(second)


async def test_a_failure_that_is_not_retryable_ends_the_run(driver: Driver) -> None:
    await driver.create()
    assert not await driver.fail(await driver.start(), retryable=False)
    assert states(await driver.get()) == ("FAILED", "FAILED", "PENDING", "PENDING")


async def test_a_release_does_not_count(driver: Driver) -> None:
    await driver.create()
    for number in range(1, 6):
        order = await driver.start()
        assert order.stage.attempt == number
        await driver.release(order)
        await driver.release(order)
    view = await driver.get()
    assert states(view) == ("RUNNING", "QUEUED", "PENDING", "PENDING")
    assert view.stages[0].stage.failures == 0
    with pytest.raises(InvalidInput, match="reason"):
        await driver.release(order, "BORED")


async def test_every_report_under_a_lost_lease_is_refused(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    async with driver.context.database.read() as conn:
        seen = await attempts.get(conn, order.stage.task_id)
    assert seen is not None
    report = await driver.completion(order)
    assert await expire_attempt(driver.context, seen)
    assert not await expire_attempt(driver.context, seen)
    for call in (
        driver.fail(order),
        driver.release(order),
        driver.publish(order, 1),
        complete_stage(driver.context, report),
        complete_stage(driver.context, dataclasses.replace(report, token="nonsense")),
        complete_stage(driver.context, dataclasses.replace(report, token=report.token[:-1] + "x")),
    ):
        with pytest.raises(LeaseLost):
            await call
    directives, _worker = await driver.beat(order.lease, "nonsense")
    assert directives == [Directive.LEASE_LOST, Directive.LEASE_LOST]
    view = await driver.get()
    assert states(view) == ("RUNNING", "QUEUED", "PENDING", "PENDING")
    assert view.stages[0].attempts[0].state.value == "EXPIRED"


async def test_a_heartbeat_between_look_and_expiry_saves_the_lease(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    async with driver.context.database.read() as conn:
        seen = await attempts.get(conn, order.stage.task_id)
    assert seen is not None
    assert await driver.beat(order.lease) == (
        [Directive.CONTINUE],
        Directive.CONTINUE,
    )
    assert not await expire_attempt(driver.context, seen)
    assert await driver.complete(order)


async def test_cancelling_a_queued_run_ends_it_at_once(driver: Driver) -> None:
    await driver.create()
    task = await driver.queued_task()
    assert states(await cancel_run(driver.context, CALLER, "r")) == ("CANCELLED",) * 4
    assert states(await cancel_run(driver.context, CALLER, "r")) == ("CANCELLED",) * 4
    assert await driver.deliver(task) == Stop(StopReason.CANCELLED)
    assert await due(driver) == {}


async def test_cancelling_between_stages_ends_the_run_and_keeps_results(driver: Driver) -> None:
    await driver.create()
    await driver.complete(await driver.start())
    cancelled = await cancel_run(driver.context, CALLER, "r")
    assert states(cancelled) == ("CANCELLED", "SUCCEEDED", "CANCELLED", "CANCELLED")


async def test_cancelling_a_running_stage_tells_its_worker(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    cancelling = await cancel_run(driver.context, CALLER, "r")
    assert states(cancelling) == ("CANCELLING", "RUNNING", "PENDING", "PENDING")
    assert (await driver.publish(order, 1)).directive is Directive.CANCEL
    directives, _ = await driver.beat(order.lease)
    assert directives == [Directive.CANCEL]
    await driver.release(order, "CANCELLED")
    view = await driver.get()
    assert states(view) == ("CANCELLED",) * 4
    assert view.stages[0].attempts[0].state.value == "CANCELLED"


@pytest.mark.parametrize("end", ["complete", "fail", "expire"])
async def test_while_cancelling_every_end_of_the_stage_cancels_the_run(
    driver: Driver, end: str
) -> None:
    await driver.create()
    order = await driver.start()
    await cancel_run(driver.context, CALLER, "r")
    if end == "complete":
        assert not await driver.complete(order)
    elif end == "fail":
        assert not await driver.fail(order)
    else:
        async with driver.context.database.read() as conn:
            seen = await attempts.get(conn, order.stage.task_id)
        assert seen is not None
        assert await expire_attempt(driver.context, seen)
    view = await driver.get()
    first = "SUCCEEDED" if end == "complete" else "CANCELLED"
    assert states(view) == ("CANCELLED", first, "CANCELLED", "CANCELLED")
    assert await due(driver) == {}


async def test_a_finished_run_cannot_be_cancelled_or_retried(driver: Driver) -> None:
    await driver.create(judges=None, infer=None)
    await driver.complete(await driver.start())
    with pytest.raises(FailedPrecondition) as cancelled:
        await cancel_run(driver.context, CALLER, "r")
    assert cancelled.value.reason == "RUN_TERMINAL"
    with pytest.raises(FailedPrecondition) as retried:
        await retry_run(driver.context, CALLER, "r", "")
    assert retried.value.reason == "RUN_NOT_RETRYABLE"


async def test_a_retry_keeps_results_and_raises_the_limit(driver: Driver) -> None:
    await driver.create(retry={"max_attempts": 1})
    await driver.complete(await driver.start())
    infer = await driver.start()
    assert not await driver.fail(infer)
    again = await retry_run(driver.context, CALLER, "r", "retry-1")
    assert states(again) == ("QUEUED", "SUCCEEDED", "QUEUED", "PENDING")
    assert again.stages[1].stage.attempt == 2
    assert again.stages[1].stage.max_attempts == 2
    assert again.run.end_time is None
    repeated = await retry_run(driver.context, CALLER, "r", "retry-1")
    assert repeated.run.revision == again.run.revision
    assert await driver.deliver(infer.stage.task_id) == Stop(StopReason.STALE)
    await driver.complete(await driver.start())
    await driver.complete(await driver.start())
    assert states(await driver.get()) == ("SUCCEEDED",) * 4


async def test_a_cancelled_run_is_retried_from_its_first_unfinished_stage(driver: Driver) -> None:
    await driver.create()
    await driver.complete(await driver.start())
    await cancel_run(driver.context, CALLER, "r")
    again = await retry_run(driver.context, CALLER, "r", "")
    assert states(again) == ("QUEUED", "SUCCEEDED", "QUEUED", "PENDING")
    await driver.complete(await driver.start())
    await driver.complete(await driver.start())
    assert states(await driver.get()) == ("SUCCEEDED",) * 4


async def test_a_run_that_was_cancelled_during_its_last_stage_has_nothing_to_retry(
    driver: Driver,
) -> None:
    await driver.create(judges=None, infer=None)
    order = await driver.start()
    await cancel_run(driver.context, CALLER, "r")
    await driver.complete(order)
    with pytest.raises(FailedPrecondition, match="every result"):
        await retry_run(driver.context, CALLER, "r", "")
    assert states(await driver.get()) == ("CANCELLED", "SUCCEEDED")
