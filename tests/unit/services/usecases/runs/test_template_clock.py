from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from services.usecases.content import models
from services.usecases.runs import accept
from services.usecases.runs.view import RunView
from services.usecases.stages.complete import complete_stage
from tests import model_folder
from tests.unit.services.driver import CALLER, RESULTS, Driver
from tests.unit.services.usecases.stored_content import put

CLOCK = b"{{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}"
NO_CLOCK = b"{# strftime_now is not asked for #}{{ messages[0]['content'] }}"
RUBRIC = {"name": "llm_rubric", "llm_rubric": {"rubric": "x", "backend": {"model": "models/m"}}}


async def on_day(monkeypatch: pytest.MonkeyPatch, day: int) -> str:
    """Let runs be created in the last minutes of a day of December 2026, UTC."""
    moment = datetime(2026, 12, day, 23, 59, tzinfo=UTC)
    monkeypatch.setattr(accept, "utc_now", lambda: moment)
    return moment.date().isoformat()


async def import_model(driver: Driver, template: bytes) -> None:
    files = model_folder.files() | {"chat_template.jinja": template}
    entries = [await put(driver.context, name, data) for name, data in files.items()]
    await models.import_folder(driver.context, CALLER, "m", "", entries)


async def create(driver: Driver, run_id: str, **changes: Any) -> RunView:
    blocks = {"model": {"source": "models/m"}, "infer": None, "judges": []} | changes
    return await driver.create(run_id, **blocks)


async def train(driver: Driver, run_id: str, day: str | None) -> str:
    """Run the TRAIN stage, whose template used ``day``; return the day in its order."""
    order = await driver.start(run_id)
    completion = await driver.completion(order)
    date_result = {} if day is None else {"template_date": day}
    result = {"train": {**RESULTS["train"]["train"], **date_result}}
    await complete_stage(driver.context, dataclasses.replace(completion, result=result))
    return order.run.template_date


async def test_the_day_is_recorded_where_a_template_asks_for_it(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_model(driver, CLOCK)
    first = await on_day(monkeypatch, 1)
    view = await create(driver, "a")
    assert view.run.resolved_spec.template_date == first
    await on_day(monkeypatch, 2)
    # A later attempt gets the same day.
    order = await driver.start("a")
    await driver.fail(order)
    assert await train(driver, "a", first) == first


async def test_another_day_is_another_training_where_a_template_asks_for_it(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_model(driver, CLOCK)
    first = await on_day(monkeypatch, 1)
    await create(driver, "a")
    await train(driver, "a", first)
    assert (await create(driver, "b")).run.state == "SUCCEEDED"
    await on_day(monkeypatch, 2)
    assert (await create(driver, "c")).run.state == "QUEUED"
    assert (await create(driver, "d", template_date=first)).run.state == "SUCCEEDED"


async def test_a_template_without_a_clock_is_reused_on_another_day(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_model(driver, NO_CLOCK)
    await on_day(monkeypatch, 1)
    view = await create(driver, "a", template_date="2020-02-02")
    assert view.run.resolved_spec.template_date is None
    await train(driver, "a", None)
    await on_day(monkeypatch, 2)
    assert (await create(driver, "b")).run.state == "SUCCEEDED"


async def test_a_model_of_the_hub_is_told_the_day_and_says_whether_it_mattered(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await on_day(monkeypatch, 1)
    for run_id, source, day in (("a", "org/plain", None), ("b", "org/clock", first)):
        view = await create(driver, run_id, model={"source": source})
        assert view.run.resolved_spec.template_date is None
        assert await train(driver, run_id, day) == first
    await on_day(monkeypatch, 2)
    assert (await create(driver, "c", model={"source": "org/plain"})).run.state == "SUCCEEDED"
    assert (await create(driver, "d", model={"source": "org/clock"})).run.state == "QUEUED"


async def test_a_model_that_judges_has_the_clock_of_its_run(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_model(driver, CLOCK)
    first = await on_day(monkeypatch, 1)
    spec_blocks = {"infer": {"eval_sets": ["dataset:train"]}, "judges": [RUBRIC]}
    view = await create(driver, "a", model={"preset": "gpt2-nano"}, **spec_blocks)
    assert view.run.resolved_spec.template_date == first


async def test_a_template_in_the_spec_replaces_the_models_and_its_clock(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_model(driver, CLOCK)
    first = await on_day(monkeypatch, 1)
    for run_id, source, template, day in (
        ("a", "models/m", NO_CLOCK, None),
        ("b", "models/m", CLOCK, first),
        ("c", "org/name", CLOCK, first),
        ("e", "models/m", b"chatml", None),
        ("f", "org/name", b"smollm3", first),
    ):
        model = {"source": source, "chat_template": template.decode()}
        view = await create(driver, run_id, model=model)
        assert view.run.resolved_spec.template_date == day
    preset = {"preset": "gpt2-nano", "chat_template": CLOCK.decode()}
    view = await create(driver, "d", model=preset, template_date="2020-02-02")
    assert view.run.resolved_spec.template_date == "2020-02-02"


@pytest.mark.parametrize("day", ["2026-02-30", "1.2.2026", "2026-2-3", "today"])
async def test_a_day_that_is_none_is_refused(driver: Driver, day: str) -> None:
    with pytest.raises(Exception, match="template_date"):
        await driver.create("a", template_date=day)
