from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

import tailrace
from tailrace.access import PLAINTEXT
from tailrace.cli.run_report.contents import read_contents
from tailrace.cli.run_report.page import page as report_page
from tailrace.client.aio import AsyncClient
from tailrace.console.events import END
from tailrace.console.pages.run import _Watcher
from tailrace.console.pages.run_logs import _Follower
from tailrace.console.timeline import Pace
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import MOMENT
from tests.unit.tailrace.console.conftest import Visitor, visit
from tests.unit.tailrace.console.runs import LINES


@pytest.fixture
async def visitor(runs: ServedControlPlane) -> AsyncIterator[Visitor]:
    async for one in visit(runs.address):
        yield one


@pytest.fixture
def client(runs: ServedControlPlane) -> Iterator[tailrace.Client]:
    with tailrace.Client(runs.address, access=PLAINTEXT) as client:
        yield client


@pytest.fixture
async def plane(runs: ServedControlPlane) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(runs.address, access=PLAINTEXT) as plane:
        yield plane


async def test_the_overview_agrees_with_the_report_to_the_digit(
    visitor: Visitor, client: tailrace.Client
) -> None:
    page = (await visitor.get("/runs/judged")).text
    report = report_page(read_contents(client, "judged", 10), MOMENT)
    for figure in ("5.5000 → 2.2500 nats", "<b>0.333</b> <small>(0.061–0.792)</small>", "1/3"):
        assert figure in page
        assert figure in report
    assert "<script>alert" not in page


async def test_buttons_are_those_that_the_state_allows(visitor: Visitor) -> None:
    for run, buttons, others in (
        ("judged", ("/judge", "/promote"), ("/cancel", "/retry")),
        ("failed", ("/retry",), ("/cancel", "/judge")),
        ("busy", ("/cancel",), ("/retry", "/promote")),
    ):
        page = (await visitor.get(f"/runs/{run}")).text
        for action in buttons:
            assert f'action="/runs/{run}{action}"' in page
        for action in others:
            assert f'action="/runs/{run}{action}"' not in page


async def test_a_failure_is_explained(visitor: Visitor) -> None:
    page = (await visitor.get("/runs/failed")).text
    assert "it crashed" in page
    assert "exit status 1" in page
    assert "last words" in page


async def test_a_missing_run_is_not_found(visitor: Visitor) -> None:
    response = await visitor.get("/runs/nothing")
    assert response.status_code == 404
    assert "does not exist" in response.text


async def test_a_run_is_judged_again_and_cancelled(visitor: Visitor) -> None:
    await visitor.get("/runs/judged")
    response = await visitor.post("/runs/judged/judge", judges="contains")
    new_run = response.headers["location"]
    page = (await visitor.get(new_run)).text
    assert "runs/judged" in page
    await visitor.post(f"{new_run}/cancel")
    assert ">CANCELLED<" in (await visitor.get(new_run)).text
    refused = await visitor.post(f"{new_run}/promote", model="m")
    assert refused.status_code == 409


async def test_changes_and_progress_arrive_as_events(plane: AsyncClient) -> None:
    watcher = _Watcher(plane, "busy", 0)
    events = watcher.events()
    first, second = await anext(events), await anext(events)
    assert (first.name, first.data) == ("run", "RUNNING")
    assert second.name == "progress"
    assert second.data == {"stage": "train", "done": 3, "total": 10, "text": "3/10 steps"}
    assert int(second.cursor) > 0
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_finished_run_ends_its_stream(visitor: Visitor) -> None:
    text = (await visitor.get("/runs/judged/events")).text
    assert f"event: {END}" in text
    assert "event: run" in text


def test_the_time_to_go_begins_after_compilation() -> None:
    pace = Pace()
    assert pace.to_go(0, 100, 50.0) == ""
    assert pace.to_go(1, 100, 90.0) == ""
    assert pace.to_go(11, 100, 100.0) == " · 1m29s to go"


async def test_logs_show_their_end_and_lead_back(visitor: Visitor) -> None:
    page = (await visitor.get("/runs/judged/logs?stage=train")).text
    assert f'data-line="{LINES}"' in page
    assert 'data-line="250"' not in page
    assert "<script>alert" not in page
    url = page.partition('rel="prev" href="')[2].partition('"')[0].replace("&amp;", "&")
    earlier = (await visitor.get(url)).text
    assert 'data-line="250"' in earlier
    assert 'data-line="251"' not in earlier
    assert 'rel="next" href="' in earlier


async def test_lines_are_found_by_level_and_text(visitor: Visitor) -> None:
    async def numbers(query: str) -> list[int]:
        response = await visitor.get(f"/runs/judged/lines?stage=train&{query}")
        return [line[0] for line in json.loads(response.text)["lines"]]

    assert await numbers("level=error") == [200]
    assert await numbers("contains=line%204&from=1&direction=on&size=2") == [4, 40]
    assert await numbers("from=300&direction=on&size=2") == [300, 301]


async def test_new_lines_follow_the_cursor(plane: AsyncClient) -> None:
    page = await plane.list_log_lines("judged", "train", sequence=1, page_size=1)
    follower = _Follower(plane, "judged", page.cursor, stage="train")
    assert [event async for event in follower.events()] == []
    whole = _Follower(plane, "judged", "", stage="train", min_level="error")
    (event,) = [event async for event in whole.events()]
    assert event.data["lines"][0][0] == 200


async def test_curves_are_drawn_without_scripts_and_sent_as_points(visitor: Visitor) -> None:
    assert "<polyline" in (await visitor.get("/runs/judged/curves")).text
    points = json.loads((await visitor.get("/runs/judged/points")).text)["metrics"]["loss"]
    assert points[0] == list(range(1, 11))
    assert points[1][-1] == 2.25


async def test_predictions_are_filtered_and_compared(visitor: Visitor) -> None:
    page = (await visitor.get("/runs/judged/predictions")).text
    assert page.count('data-head="Item"') == 3
    assert "<summary>thinking</summary>" in page
    assert "<summary>tool call</summary>" in page
    passes = (await visitor.get("/runs/judged/predictions?outcome=pass")).text
    assert passes.count('data-head="Item"') == 1
    lost = (await visitor.get("/runs/judged/predictions?against=better&change=lost")).text
    assert lost.count('data-head="Item"') == 1
    assert "item-1" in lost


async def test_files_of_other_runs_are_not_served(
    visitor: Visitor, client: tailrace.Client
) -> None:
    artifact = next(iter(client.list_artifacts("judged", kind="model")))
    digest, path = artifact.name.removeprefix("artifacts/"), artifact.files[0].path
    response = await visitor.get(f"/runs/judged/artifacts/{digest}/{path}")
    assert response.status_code == 200
    assert response.headers["content-disposition"].startswith("attachment")
    missing = await visitor.get(f"/runs/failed/artifacts/{digest}/{path}")
    assert missing.status_code == 404


async def test_the_run_file_repeats_the_run(visitor: Visitor) -> None:
    page = (await visitor.get("/runs/judged/artifacts")).text
    assert "tailrace runs create -f judged.yaml" in page
    spec = (await visitor.get("/runs/judged/spec.yaml")).text
    assert "preset: gpt2-nano" in spec
    assert (await visitor.get("/runs/judged/rollouts")).status_code == 200
