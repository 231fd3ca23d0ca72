from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from services.domain.errors import FailedPrecondition, InvalidInput, LeaseLost
from services.domain.event import CheckpointSaved, Evaluation, Event, MetricPoint, ReferenceSaved
from services.domain.stage import Progress
from services.storage.rows import artifacts, evaluations
from services.usecases.runs.read import list_predictions, list_verdicts
from services.usecases.stages.find_reference import find_reference
from services.usecases.stages.publish import MAX_MESSAGES
from tailrace.formats.limits import MAX_EVENTS
from tests.unit.services.driver import CALLER, PROJECT, Driver, line
from tests.unit.services.usecases.stored_content import not_uploaded


def prediction(example: str, text: str) -> Evaluation:
    body = {"eval_set": "eval_v1", "example_id": example, "model_role": "trained", "text": text}
    return Evaluation(("eval_v1", example, "trained", 0), body)


def verdict(example: str, outcome: str) -> Evaluation:
    body = {"eval_set": "eval_v1", "example_id": example, "judge": "j", "outcome": outcome}
    return Evaluation(("eval_v1", example, "trained", 0), body, "j")


async def test_events_are_stored_once_however_often_they_come(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    lines: list[Event] = [line(f"line {i}") for i in range(1, 7)]
    assert (await driver.publish(order, 1, *lines[:3])).sequence == 3
    assert (await driver.publish(order, 1, *lines[:3])).sequence == 3
    assert (await driver.publish(order, 2, *lines[1:5])).sequence == 5
    assert (await driver.publish(order, 6, lines[5])).sequence == 6
    attempt = (await driver.get()).stages[0].attempts[0]
    assert attempt.log_lines == 6
    digest = b""
    for i in range(1, 7):
        digest = hashlib.sha256(digest + f"line {i}".encode()).digest()
    assert attempt.log_digest == digest.hex()


async def test_a_gap_stores_nothing_and_says_where_to_rewind_to(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    await driver.publish(order, 1, line("one"))
    assert (await driver.publish(order, 3, line("three"))).sequence == 1
    assert (await driver.publish(order, 2)).sequence == 1
    assert (await driver.get()).stages[0].attempts[0].log_lines == 1


async def test_lines_are_numbered_apart_from_other_events(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    before = (await driver.get()).run.revision
    metric = MetricPoint("loss", 1, 3.5, datetime(2026, 1, 1, tzinfo=UTC))
    events: list[Event] = [
        line("a"),
        metric,
        Progress(1, 10, "steps"),
        line("b"),
        Progress(2, 10, "steps"),
    ]
    assert (await driver.publish(order, 1, *events)).sequence == 5
    view = await driver.get()
    attempt = view.stages[0].attempts[0]
    assert (attempt.log_lines, attempt.metric_points, attempt.last_event) == (2, 1, 5)
    assert view.stages[0].stage.progress == Progress(2, 10, "steps")
    assert view.run.revision > before


async def test_a_checkpoint_is_usable_once_its_event_is_stored(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    assert order.checkpoint is None
    with pytest.raises(FailedPrecondition) as error:
        await driver.publish(order, 1, CheckpointSaved(5, [not_uploaded("state.safetensors")]))
    assert error.value.reason == "BLOB_MISSING"
    entry = await driver.upload("state.safetensors", b"state")
    await driver.publish(order, 1, CheckpointSaved(5, [entry]))
    assert (await driver.get()).stages[0].attempts[0].checkpoint_step == 5
    await driver.fail(order)
    resumed = await driver.start()
    assert resumed.checkpoint is not None
    assert resumed.checkpoint.step == 5
    with pytest.raises(LeaseLost):
        await driver.publish(order, 2, CheckpointSaved(6, [entry]))
    async with driver.context.database.read() as conn:
        run = (await driver.get()).run
        newest = await artifacts.newest_checkpoint(conn, PROJECT, run.uid, "train")
    assert newest is not None
    assert newest.step == 5


async def test_a_later_attempt_replaces_predictions_and_verdicts(driver: Driver) -> None:
    await driver.create(
        model={"source": "distilgpt2"}, train=None, infer={"eval_sets": ["eval_v1"]}, dataset=None
    )
    order = await driver.start()
    await driver.publish(order, 1, prediction("a", "one"), prediction("b", "two"))
    await driver.fail(order)
    order = await driver.start()
    events = [prediction("b", "x"), prediction("b", "three"), verdict("a", "pass")]
    await driver.publish(order, 1, *events, verdict("b", "fail"))
    bodies, token = await list_predictions(
        driver.context, CALLER, "r", eval_set="", size=1, token=""
    )
    assert [body["text"] for body in bodies] == ["one"]
    bodies, token = await list_predictions(
        driver.context, CALLER, "r", eval_set="", size=1, token=token
    )
    assert [body["text"] for body in bodies] == ["three"]
    assert token == ""
    failed, _ = await list_verdicts(
        driver.context, CALLER, "r", eval_set="", judge="", outcome="fail", size=0, token=""
    )
    assert [body["example_id"] for body in failed] == ["b"]
    for judge, number in ((failed[0]["judge"], 1), ("contains", 0)):
        verdicts, _ = await list_verdicts(
            driver.context, CALLER, "r", eval_set="", judge=judge, outcome="fail", size=0, token=""
        )
        assert len(verdicts) == number


async def test_rows_without_a_score_were_0_unless_they_are_errors(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    outcomes = {"a": "fail", "b": "error", "c": "pass"}
    events = [verdict(example, outcome) for example, outcome in outcomes.items()]
    events[1].body["score"] = 0.0
    events[2].body["score"] = 0.75
    await driver.publish(order, 1, *events)
    verdicts, _ = await list_verdicts(
        driver.context, CALLER, "r", eval_set="", judge="", outcome="", size=0, token=""
    )
    assert [body.get("score") for body in verdicts] == [0.0, None, 0.75]
    async with driver.context.database.read() as conn:
        rows = await evaluations.verdict_rows(conn, (await driver.get()).run.uid)
    assert {row.example_id: row.score for row in rows} == {"a": 0.0, "b": None, "c": 0.75}


@pytest.mark.parametrize(
    ("eval_set", "sets"),
    [("mine", ["mine@1", "mine@2"]), ("mine@2", ["mine@2"]), ("min", []), ("mine%", [])],
)
async def test_a_name_without_version_means_any(
    driver: Driver, eval_set: str, sets: list[str]
) -> None:
    await driver.create()
    order = await driver.start()
    names = ("mine@1", "mine@2", "mineral@1")
    answers = [Evaluation((name, "a", "trained", 0), {"eval_set": name}) for name in names]
    await driver.publish(order, 1, *answers)
    bodies, _ = await list_predictions(
        driver.context, CALLER, "r", eval_set=eval_set, size=0, token=""
    )
    assert [body["eval_set"] for body in bodies] == sets


async def test_batches_have_bounds(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    most = MAX_EVENTS * MAX_MESSAGES
    with pytest.raises(InvalidInput, match=f"at most {most}"):
        await driver.publish(order, 1, *[line("x")] * (most + 1))
    with pytest.raises(InvalidInput, match="must be at least 1"):
        await driver.publish(order, 0, line("x"))


async def test_any_run_of_the_project_finds_a_reference_by_its_key(driver: Driver) -> None:
    key = "a" * 64
    await driver.create("first")
    order = await driver.start("first")
    entry = await driver.upload("reference.safetensors", b"log-probabilities")
    await driver.publish(order, 1, ReferenceSaved(key, [entry]))
    # The artifact is there before the stage is done, and for other runs' stages, too.
    assert await find_reference(driver.context, str(order.lease), "b" * 64) is None
    artifact = await find_reference(driver.context, str(order.lease), key)
    assert artifact is not None
    assert [file.path for file in artifact.listing.files] == ["reference.safetensors"]
    with pytest.raises(LeaseLost):
        await find_reference(driver.context, "no lease", key)
