"""Leaderboard of an eval set: the best runs by one judge, each compared with the best."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tailrace.cli.run_report.scores import Bar, Difference, card, difference
from tailrace.cli.show import run_view
from tailrace.client import runs
from tailrace.client.aio import AsyncClient
from tailrace.console.pages.history import quoted
from tailrace.console.paging import fetch_page
from tailrace.console.rendering import client, render
from tailrace.v1 import evaluation_pb2, run_pb2

PLACES = 10
"""Number of runs on a leaderboard: as many as one comparison takes."""

_RECENT = 200
"""Number of the newest runs whose eval sets and judges are offered."""


@dataclass(frozen=True)
class Place:
    """Run on the leaderboard."""

    run: run_pb2.Run
    bar: Bar
    version: str
    """Version of the judge."""
    against_best: Difference | None
    """Comparison with the best run on shared items; None for the best itself."""


async def leaderboard(request: Request) -> Response:
    """Show the best runs on an eval set."""
    plane = client(request)
    choices = await _choices(plane)
    eval_set = request.query_params.get("eval_set", "")
    judge = request.query_params.get("judge", "")
    if not eval_set and choices:
        eval_set, judge = choices[0]
    if eval_set and not judge:
        judge = next((by for name, by in choices if name == eval_set), "")
    places = await _places(plane, eval_set, judge) if eval_set and judge else []
    return render(
        request,
        "leaderboard.html",
        choices=choices,
        eval_set=eval_set,
        judge=judge,
        places=places,
        one_version=len({place.version for place in places}) < 2,
    )


async def _choices(plane: AsyncClient) -> list[tuple[str, str]]:
    """Return the eval sets and judges of recent runs."""
    recent, _ = await fetch_page(
        plane, runs.list_runs(filter="state = SUCCEEDED", page_size=_RECENT)
    )
    pairs = [(score.eval_set, score.judge) for run in recent for score in run_view.scores(run)]
    return list(dict.fromkeys(pairs))


async def _places(plane: AsyncClient, eval_set: str, judge: str) -> list[Place]:
    conditions = f"eval_set = {quoted(eval_set)} AND judge = {quoted(judge)}"
    call = runs.list_runs(filter=conditions, order_by="score desc", page_size=PLACES)
    best, _ = await fetch_page(plane, call)
    differences: dict[str, Difference] = {}
    if len(best) > 1:
        comparison = await plane.compare_runs([run.name for run in best])
        for verdicts in comparison.verdicts:
            paired = verdicts.comparison
            if (paired.eval_set, paired.judge) == (eval_set, judge):
                # That of the trained model comes first, and counts.
                differences.setdefault(verdicts.run, difference(paired))
    return [
        Place(run, card(score).bar, score.version, differences.get(run.name))
        for run in best
        if (score := _score(run, eval_set, judge)) is not None
    ]


def _score(run: run_pb2.Run, eval_set: str, judge: str) -> evaluation_pb2.JudgeScore | None:
    scores = [
        score
        for score in run_view.scores(run)
        if (score.eval_set, score.judge) == (eval_set, judge) and score.HasField("score")
    ]
    trained = [s for s in scores if s.model_role == evaluation_pb2.MODEL_ROLE_TRAINED]
    return next(iter(trained or scores), None)


ROUTES = [Route("/leaderboard", leaderboard)]
