from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.domain.errors import AlreadyExists, InvalidInput, NotFound, ResourceExhausted
from services.usecases.content import datasets
from services.usecases.runs.create import CreateRun
from services.usecases.runs.read import get_run
from tests.unit.services.driver import CALLER, Driver, spec, states
from tests.unit.services.usecases.stored_content import make_context


def wrong_fields(error: pytest.ExceptionInfo[InvalidInput]) -> set[str]:
    return {violation.field for violation in error.value.violations}


async def test_every_wrong_field_comes_back_at_once(driver: Driver) -> None:
    bad = spec(
        model={"preset": "gpt9"},
        train={"max_steps": 10, "learning_rate": -1.0, "num_epochs": 3},
        infer={"eval_sets": ["dataset:held_out"], "temperature": float("nan")},
        judges=[{"name": "answer_correctness"}, {"name": "vibes"}],
    )
    with pytest.raises(InvalidInput) as error:
        await driver.submit(CreateRun("-x", bad, "a\n"))
    assert wrong_fields(error) == {
        "request_id",
        "run_id",
        "spec.model.preset",
        "spec.train.learning_rate",
        "spec.train.num_epochs",
        "spec.infer.temperature",
        "spec.judges[1].name",
    }


async def test_a_missing_spec_is_named(driver: Driver) -> None:
    with pytest.raises(InvalidInput) as error:
        await driver.submit(CreateRun("r", None))
    assert wrong_fields(error) == {"spec"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "nothing"}, "DATASET_NOT_FOUND"),
        ({"dataset": "golden-v2@7"}, "DATASET_NOT_FOUND"),
        ({"model": {"source": "models/nothing"}}, "MODEL_NOT_FOUND"),
    ],
)
async def test_what_a_spec_names_must_exist(
    driver: Driver, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotFound) as error:
        await driver.create(**change)
    assert error.value.reason == reason


async def _chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_prompts_without_answers_cannot_be_learnt(driver: Driver) -> None:
    lines = b'{"prompt": "a"}\n{"prompt": "b"}\n'
    header = datasets.DatasetHeader("questions", "")
    await datasets.import_lines(driver.context, CALLER, header, _chunks(lines))
    with pytest.raises(InvalidInput, match="questions has the kind prompts") as error:
        await driver.create(dataset="questions", train={"max_steps": 1, "eval_fraction": 0.5})
    assert wrong_fields(error) == {"spec.dataset"}


async def test_dpo_takes_preferences_alone(driver: Driver) -> None:
    lines = b"".join(
        b'{"prompt": "%d", "chosen": "a", "rejected": "b"}\n' % number for number in range(4)
    )
    header = datasets.DatasetHeader("pairs", "")
    await datasets.import_lines(driver.context, CALLER, header, _chunks(lines))
    train = {"max_steps": 1, "eval_fraction": 0.5, "dpo": {}}
    with pytest.raises(InvalidInput, match="learns from pairs of answers") as error:
        await driver.create(dataset="golden-v2", train=train)
    assert wrong_fields(error) == {"spec.dataset"}
    await driver.create(dataset="pairs", train=train)


async def test_kto_takes_feedback_alone(driver: Driver) -> None:
    lines = b"".join(
        b'{"prompt": "%d", "completion": "a", "label": true}\n' % number for number in range(4)
    )
    header = datasets.DatasetHeader("thumbs", "")
    await datasets.import_lines(driver.context, CALLER, header, _chunks(lines))
    train = {"max_steps": 1, "eval_fraction": 0.5, "kto": {}}
    with pytest.raises(InvalidInput, match="learns from answers with a label") as error:
        await driver.create(dataset="golden-v2", train=train)
    assert wrong_fields(error) == {"spec.dataset"}
    await driver.create(dataset="thumbs", train=train)


async def test_a_split_with_an_empty_part_is_refused(driver: Driver) -> None:
    train = {"max_steps": 1, "eval_fraction": 0.001}
    with pytest.raises(InvalidInput, match="leaves the held-out part empty"):
        await driver.create(train=train)


async def test_the_same_request_id_returns_the_same_run(driver: Driver) -> None:
    command = CreateRun("", spec(), "request-1")
    first = await driver.submit(command)
    again = await driver.submit(command)
    assert again.run == first.run
    with pytest.raises(AlreadyExists) as error:
        await driver.submit(CreateRun("", spec(judges=None), "request-1"))
    assert error.value.reason == "REQUEST_ID_REUSED"


async def test_a_repeated_call_succeeds_where_a_new_one_would_not(
    sqlite_url: str, tmp_path: Path
) -> None:
    limited = Driver(make_context(sqlite_url, tmp_path / "data", max_unfinished_runs=1))
    await datasets.seed(limited.context, CALLER, "golden-v2")
    first = await limited.submit(CreateRun("r", spec(), "request-3"))
    again = await limited.submit(CreateRun("r", spec(), "request-3"))
    assert again.run == first.run
    with pytest.raises(ResourceExhausted):
        await limited.submit(CreateRun("", spec(), "request-4"))
    await limited.context.database.close()


async def test_concurrent_calls_with_one_request_id_make_one_run(driver: Driver) -> None:
    command = CreateRun("", spec(), "request-2")
    views = await asyncio.gather(*(driver.submit(command) for _ in range(5)))
    assert len({view.run.uid for view in views}) == 1


async def test_of_calls_that_wait_together_a_wrong_one_fails_alone(driver: Driver) -> None:
    calls = [driver.create(f"r{i}") for i in range(6)]
    calls += [driver.create("lost", dataset="nowhere"), driver.create("r3")]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in done) == [
        "AlreadyExists",
        "NotFound",
        *["RunView"] * 6,
    ]
    assert {(await driver.get(f"r{i}")).run.state for i in range(6)} == {"QUEUED"}


async def test_a_run_id_is_given_away_once(driver: Driver) -> None:
    await driver.create("mine")
    with pytest.raises(AlreadyExists) as error:
        await driver.create("mine")
    assert error.value.reason == "RUN_EXISTS"
    assert states(await driver.get("mine"))[0] == "QUEUED"


async def test_validate_only_stores_nothing(driver: Driver) -> None:
    command = CreateRun("would-be", spec(), "request-3", validate_only=True)
    view = await driver.submit(command)
    assert view.run.resolved_spec.dataset == "golden-v2@1"
    assert view.run.stored_spec.mapping["train"]["seed"] == 42
    with pytest.raises(NotFound):
        await get_run(driver.context, CALLER, "would-be")
    await driver.submit(CreateRun("other", spec(), "request-3"))


async def test_validate_only_says_what_would_wait_for_a_worker(driver: Driver) -> None:
    changed = spec(execution={"infer": {"pool": "gpu"}})
    view = await driver.submit(CreateRun("", changed, validate_only=True))
    train, infer, judge = (stage.waiting_reason for stage in view.stages)
    assert (train, judge) == ("", "")
    assert infer.startswith("no live worker serves pool 'gpu'")


async def test_blocks_that_are_left_out_leave_their_stage_out(driver: Driver) -> None:
    view = await driver.create(
        model={"source": "distilgpt2"}, train=None, infer={"eval_sets": ["eval_v1"]}, judges=None
    )
    assert [v.stage.stage_id for v in view.stages] == ["infer"]


async def test_at_most_a_hundred_wrong_fields_are_listed(driver: Driver) -> None:
    bad = {**spec(), **{f"key{i}": 1 for i in range(250)}}
    with pytest.raises(InvalidInput) as error:
        await driver.submit(CreateRun("r", bad, "a\n"))
    assert len(error.value.violations) == 101
    assert error.value.violations[-1].description == "and 151 more"
    assert "and 241 more" in str(error.value)


async def test_a_judge_must_be_built_in_or_be_one_that_a_live_worker_has(driver: Driver) -> None:
    with pytest.raises(InvalidInput) as error:
        await driver.create(judges=[{"name": "haiku"}])
    [violation] = error.value.violations
    assert violation.field == "spec.judges[0].name"
    assert "answer_correctness" in violation.description
    await driver.register(judges={"haiku": "haiku 2.1"})
    assert (await driver.create(judges=[{"name": "haiku"}])).run.state == "QUEUED"


async def test_a_worker_cannot_bring_a_judge_of_a_built_in_name(driver: Driver) -> None:
    with pytest.raises(InvalidInput) as error:
        await driver.register(judges={"regex": "1", "Bad Name": "1", "fine": ""})
    assert [v.field for v in error.value.violations] == ["judges"] * 3


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a\n{% for m in messages %}", "has a syntax error in line 2"),
        ("{{ raise_exception('no') }}", "refuses every prompt"),
        ("{{ " * 30_000, "is nested too deeply"),
    ],
)
async def test_a_chat_template_that_renders_nothing_is_refused(
    driver: Driver, template: str, problem: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        await driver.create("a", model={"preset": "gpt2-nano", "chat_template": template})
    (violation,) = error.value.violations
    assert violation.field == "spec.model.chat_template"
    assert problem in violation.description
