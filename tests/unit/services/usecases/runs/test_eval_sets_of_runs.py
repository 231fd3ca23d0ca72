"""Runs that name imported eval sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.domain.content.eval_set import EvalSet, EvalSetHeader
from services.domain.errors import InvalidInput, NotFound
from services.usecases.content import eval_sets
from services.usecases.stages.acquire import Order
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.content.test_eval_sets import item_line
from tests.unit.services.usecases.stages.test_cache import run_through

GATE = {"name": "good", "metric": "score", "judge": "answer_correctness", "minimum": 0.5}


async def store(driver: Driver, answer: str = "4", name: str = "mine") -> EvalSet:
    async def data() -> AsyncIterator[bytes]:
        yield item_line("a", expected_answer=answer)

    return await eval_sets.import_lines(driver.context, CALLER, EvalSetHeader(name, ""), data())


def asked(*names: str, gate: str | None = None) -> dict[str, Any]:
    gates = [GATE | {"eval_set": gate}] if gate else []
    return {"infer": {"eval_sets": [*names]}, "gates": gates}


def files(order: Order) -> dict[str, str]:
    named = order.inputs.named
    return {
        named_input.eval_set: named_input.artifact.listing.digest
        for named_input in named
        if named_input.eval_set
    }


async def test_the_version_is_fixed_when_the_run_is_created(driver: Driver) -> None:
    first = await store(driver)
    view = await driver.create(**asked("dataset:train", "mine", gate="mine"))
    assert view.run.spec["infer"]["eval_sets"] == ["dataset:train", "mine"]
    assert view.run.stored_spec.mapping["infer"]["eval_sets"] == ["dataset:train", "mine@1"]
    assert view.run.resolved_spec.gates[0].eval_set == "mine@1"
    await store(driver, "5")
    for kind in ("train", "infer", "judge"):
        order = await driver.start()
        assert order.stage.stage_id == kind
        assert files(order) == ({} if kind == "train" else {"mine@1": first.artifact_digest})
        await driver.complete(order)


async def test_two_versions_are_two_eval_sets(driver: Driver) -> None:
    await store(driver)
    await store(driver, "5")
    view = await driver.create("a", **asked("mine@1", "mine"))
    assert view.run.stored_spec.mapping["infer"]["eval_sets"] == ["mine@1", "mine@2"]
    with pytest.raises(InvalidInput, match="mine@2 is named twice") as error:
        await driver.create("b", **asked("mine@2", "mine"))
    assert error.value.violations[0].field == "spec.infer.eval_sets[1]"


async def test_what_was_not_imported_is_not_found(driver: Driver) -> None:
    with pytest.raises(NotFound, match="evalsets/mine does not exist") as error:
        await driver.create(**asked("mine"))
    assert error.value.reason == "EVAL_SET_NOT_FOUND"
    await store(driver)
    with pytest.raises(NotFound, match="evalsets/mine@2 does not exist"):
        await driver.create(**asked("mine@2"))


async def test_a_new_version_judges_and_infers_anew(driver: Driver) -> None:
    await store(driver)
    await driver.create("a", **asked("mine"))
    await run_through(driver, "a")
    again = await driver.create("b", **asked("mine@1"))
    assert [v.stage.state for v in again.stages] == ["SKIPPED"] * 3
    await store(driver, "5")
    other = await driver.create("c", **asked("mine"))
    assert [v.stage.state for v in other.stages] == ["SKIPPED", "QUEUED", "PENDING"]


async def test_judging_again_takes_the_version_that_was_asked(driver: Driver) -> None:
    first = await store(driver)
    await driver.create("a", **asked("mine"))
    await run_through(driver, "a")
    await store(driver, "5")
    alone = dict.fromkeys(("dataset", "model", "train", "infer"))
    gates = [GATE | {"eval_set": "mine"}]
    view = await driver.create("j", **alone, predictions="runs/a", gates=gates, cache=False)
    assert view.run.stored_spec.mapping["infer"]["eval_sets"] == ["mine@1"]
    assert view.run.resolved_spec.gates[0].eval_set == "mine@1"
    assert files(await driver.start("j")) == {"mine@1": first.artifact_digest}
