from __future__ import annotations

import pytest

import tailrace
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import Driver
from tests.unit.services.usecases.content.test_promotion import finish
from tests.unit.tailrace.console.conftest import Visitor


@pytest.fixture(scope="module", autouse=True)
def runs(served: ServedControlPlane) -> None:
    """Two finished runs."""

    async def work() -> None:
        driver = Driver(served.control_plane.context, "trainer")
        await driver.register()
        for run_id in ("a", "b"):
            await finish(driver, run_id, run_id.encode(), cache=False)

    with tailrace.Client(served.address) as client:
        client.seed_dataset("golden-v2")
    served.call(work())


async def promote(visitor: Visitor, run: str, **fields: str) -> str:
    await visitor.get("/models")
    answer = await visitor.post("/models/promote", run=run, model="support", **fields)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_a_run_is_promoted_given_an_alias_and_deleted(
    visitor: Visitor, client: tailrace.Client
) -> None:
    for run in ("a", "b"):
        path = await promote(visitor, run, force="on", reason="A demo.")
    page = (await visitor.get(path)).text
    assert "A demo." in page
    assert f"tailrace models serve {path[1:]}" in page
    assert "answer_correctness" in page
    assert "0.900" in page
    assert (await visitor.post(f"{path}/alias", alias="prod")).status_code == 303
    assert list(client.get_model(path[1:]).aliases) == ["prod"]
    used = await visitor.post(f"{path}/delete")
    assert used.status_code == 400
    assert "prod" in used.text
    assert (await visitor.post(f"{path}/alias", alias="prod", remove="on")).status_code == 303
    assert (await visitor.post(f"{path}/delete")).headers["location"] == "/models"
    assert (await visitor.get(path)).status_code == 404


async def test_a_refused_promotion_says_why(visitor: Visitor) -> None:
    await visitor.get("/models")
    answer = await visitor.post("/models/promote", run="a", model="support")
    assert answer.status_code == 400
    assert "has no gates" in answer.text


async def test_a_run_starts_from_a_version(visitor: Visitor) -> None:
    path = await promote(visitor, "a", force="on", reason="x")
    page = (await visitor.get(path)).text
    assert f"/runs/new?model={path[1:].replace('@', '%40')}" in page
    form = (await visitor.get(f"/runs/new?model={path[1:]}")).text
    assert f'name="model.source" type="text" value="{path[1:]}"' in form
