from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tailrace.console.events import Event
from tailrace.console.pages import history
from tailrace.console.pages.history import Query
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.console.conftest import Visitor, visit


@pytest.fixture
async def visitor(runs: ServedControlPlane) -> AsyncIterator[Visitor]:
    async for one in visit(runs.address):
        yield one


def rows(text: str) -> list[str]:
    """Return the runs of the page in order."""
    return [part.partition('"')[0] for part in text.split('name="run" value="')[1:]]


async def test_runs_are_shown_with_their_figures(visitor: Visitor) -> None:
    page = (await visitor.get("/runs")).text
    assert rows(page) == ["busy", "failed", "better", "judged"]
    assert "1.7500" in page
    assert "<b>0.667</b> <small>(0.061–0.792)</small>" in page
    assert "w1 cpu-" in page
    assert "&lt;script&gt;" in page
    assert "\\u202e" in page
    assert "<script>alert" not in page


async def test_runs_are_filtered_and_sorted(visitor: Visitor) -> None:
    async def shown(query: str) -> list[str]:
        return rows((await visitor.get(f"/runs?{query}")).text)

    assert await shown("state=FAILED") == ["failed"]
    assert await shown("order=loss") == ["better", "judged"]
    assert await shown("order=score") == ["judged", "better"]
    assert await shown("dataset=golden-v2&model=gpt2-nano&order=create_time") == [
        "judged",
        "better",
        "failed",
        "busy",
    ]
    assert await shown("label=note=other") == []
    assert await shown("since=2020-01-01&until=2020-12-31") == []


async def test_a_filter_that_is_not_valid_is_explained(visitor: Visitor) -> None:
    response = await visitor.get("/runs?since=tomorrow")
    assert response.status_code == 400
    assert "is not a time" in response.text


async def test_a_page_leads_to_the_next(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE_RUNS", 3)
    page = (await visitor.get("/runs")).text
    url = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert rows((await visitor.get(url)).text) == ["judged"]


async def test_the_live_part_is_the_list_alone(visitor: Visitor) -> None:
    part = (await visitor.get("/runs", headers={"hx-request": "true"})).text
    assert part.lstrip().startswith("<form")
    assert 'hx-trigger="live:runs from:document"' in part


async def test_a_change_of_the_list_is_an_event(
    visitor: Visitor, runs: ServedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tailrace.access import PLAINTEXT
    from tailrace.client.aio import AsyncClient

    monkeypatch.setattr(history, "POLL_SECONDS", 0.05)
    async with AsyncClient(runs.address, access=PLAINTEXT) as plane:
        changes = history._changes(plane, Query.of({"label": "live=yes"}))
        upcoming = anext(changes)
        import asyncio

        task = asyncio.ensure_future(upcoming)
        await asyncio.sleep(0.2)
        assert not task.done()
        spec = {"dataset": "golden-v2", "model": {"preset": "gpt2-nano"}, "labels": {"live": "yes"}}
        spec["train"] = {"max_steps": 3}
        await plane.create_run(spec, run_id="new")
        assert await asyncio.wait_for(task, 10) == Event("runs")
        await changes.aclose()
        await plane.cancel_run("new")


async def test_the_leaderboard_compares_with_the_best(visitor: Visitor) -> None:
    page = (await visitor.get("/leaderboard")).text
    assert page.index(">better<") < page.index(">judged<")
    assert "−" not in page
    assert "-0.333" in page


async def test_selected_runs_are_compared(visitor: Visitor) -> None:
    page = (await visitor.get("/compare?run=judged&run=better")).text
    assert "train.last_loss" in page
    assert "+0.333" in page
    assert "item-1" in page
    assert "Select two to ten runs" in (await visitor.get("/compare?run=judged")).text
