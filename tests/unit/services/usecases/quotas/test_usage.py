"""Sums of slot-seconds, tokens and bytes."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.domain.caller import Caller
from services.domain.errors import InvalidInput
from services.domain.quota import Usage, UsageGroup
from services.domain.scope import Scope
from services.storage.engine.columns import utc_now
from services.storage.rows.artifacts import artifact_references
from services.storage.rows.attempts import attempts
from services.storage.rows.stages import stages
from services.usecases.quotas.usage import sum_usage
from services.usecases.runs.create import CreateRun, create_run
from services.usecases.stages.complete import complete_stage
from tests.unit.services.driver import CALLER, MOMENT, Driver, spec

USERS = {"a": "token:alice", "b": "token:bob"}
HOUR = timedelta(hours=1)


async def complete(driver: Driver, run_id: str, tokens: int) -> None:
    """Run a run's TRAIN and INFER stages, which report ``tokens`` and twice as many."""
    for kind, key, count in (("train", "tokens", tokens), ("infer", "completion_tokens", 2)):
        order = await driver.start(run_id)
        report = await driver.completion(order)
        amount = count if kind == "train" else tokens * count
        result = {kind: {**report.result[kind], key: amount}}
        await complete_stage(driver.context, dataclasses.replace(report, result=result))


@pytest.fixture
async def used(driver: Driver) -> Driver:
    """Runs of two users: each stage took half an hour, the second one of each an hour later."""
    for run_id, subject in USERS.items():
        caller = dataclasses.replace(CALLER, subject=subject)
        labels = {"team": "red"} if run_id == "a" else {}
        await create_run(
            driver.context, caller, CreateRun(run_id, spec(cache=False, labels=labels))
        )
    await complete(driver, "a", 100)
    await complete(driver, "b", 7)
    async with driver.context.database.write() as conn:
        for ordinal in (0, 1):
            start = MOMENT + ordinal * HOUR
            of_stage = attempts.c.ordinal == ordinal
            times = {"start_time": start, "end_time": start + HOUR / 2}
            await conn.execute(sa.update(attempts).where(of_stage).values(times))
            ended = sa.update(stages).where(stages.c.ordinal == ordinal)
            await conn.execute(ended.values(end_time=start + HOUR / 2))
    return driver


async def usage(
    driver: Driver, group: UsageGroup, *, label: str = "", hours: tuple[float, float] = (0, 24)
) -> dict[str, Usage]:
    start, end = (MOMENT + hour * HOUR for hour in hours)
    entries, omitted = await sum_usage(
        driver.context, CALLER, group, label=label, start=start, end=end
    )
    assert omitted == 0
    return {entry.key: entry for entry in entries}


async def test_usage_is_summed_up_by_user_label_and_project(used: Driver) -> None:
    by_user = await usage(used, UsageGroup.USER)
    assert by_user["token:alice"].slot_seconds == pytest.approx(3600, abs=0.01)
    assert by_user["token:alice"].tokens_trained == 100
    assert by_user["token:alice"].tokens_generated == 200
    assert by_user["token:bob"].tokens_generated == 14
    by_label = await usage(used, UsageGroup.LABEL, label="team")
    assert by_label["red"].tokens_trained == 100
    assert by_label[""].tokens_trained == 7
    by_project = await usage(used, UsageGroup.PROJECT)
    assert by_project["default"].slot_seconds == pytest.approx(7200, abs=0.01)
    assert by_project["default"].tokens_trained == 107


async def test_a_window_cuts_attempts_and_takes_stages_by_their_end(used: Driver) -> None:
    part = (await usage(used, UsageGroup.USER, hours=(0.25, 1.25)))["token:alice"]
    assert part.slot_seconds == pytest.approx(1800, abs=0.01)
    assert (part.tokens_trained, part.tokens_generated) == (100, 0)
    assert await usage(used, UsageGroup.USER, hours=(2, 24)) == {}


async def test_bytes_count_where_they_were_stored_first(used: Driver) -> None:
    """Both runs have produced the same files, the second one added nothing."""
    now = utc_now()
    async with used.context.database.write() as conn:
        imported = artifact_references.c.run_uid == ""
        early = sa.update(artifact_references).where(imported).values(create_time=MOMENT)
        await conn.execute(early)
    entries, _ = await sum_usage(
        used.context, CALLER, UsageGroup.USER, label="", start=now - HOUR, end=now + HOUR
    )
    stored = {entry.key: entry.stored_bytes for entry in entries if entry.stored_bytes}
    assert stored == {"token:alice": len(b"model") + len(b"split") + len(b"predictions")}


async def test_a_running_attempt_counts_until_now(driver: Driver) -> None:
    await driver.create()
    await driver.start()
    async with driver.context.database.write() as conn:
        await conn.execute(sa.update(attempts).values(start_time=utc_now() - HOUR))
    (entry,) = (
        await sum_usage(driver.context, CALLER, UsageGroup.USER, label="", start=None, end=None)
    )[0][:1]
    assert entry.slot_seconds == pytest.approx(3600, abs=60)


async def test_only_an_administrator_sees_other_projects(used: Driver) -> None:
    stranger = Caller("other", frozenset({Scope.READ}))
    window = {"label": "", "start": None, "end": None}
    assert await sum_usage(used.context, stranger, UsageGroup.PROJECT, **window) == ([], 0)
    admin = Caller("other", frozenset({Scope.ADMIN}))
    entries, _ = await sum_usage(used.context, admin, UsageGroup.PROJECT, **window)
    assert [entry.key for entry in entries] == ["default"]
    assert (await sum_usage(used.context, admin, UsageGroup.USER, **window))[0] == []


@pytest.mark.parametrize(
    ("group", "label", "end", "field"),
    [
        (UsageGroup.LABEL, "", None, "label"),
        (UsageGroup.USER, "team", None, "label"),
        (UsageGroup.USER, "", MOMENT, "end_time"),
    ],
)
async def test_a_wrong_request_names_its_field(
    driver: Driver, group: UsageGroup, label: str, end: object, field: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        await sum_usage(
            driver.context,
            CALLER,
            group,
            label=label,
            start=MOMENT,
            end=end,  # type: ignore[arg-type]
        )
    assert [violation.field for violation in error.value.violations] == [field]
