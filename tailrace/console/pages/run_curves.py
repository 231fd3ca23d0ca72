"""Curves of a run, and of several over each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tailrace.cli.run_report.curve import chart, thinned
from tailrace.client.aio import AsyncClient
from tailrace.console.events import Event, event_response, last_cursor, reconnecting
from tailrace.console.pages.run import run_values
from tailrace.console.rendering import client, render

MOST_POINTS = 2000
"""Maximum number of points of one curve in a page."""

DRAWN = ("loss", "eval_loss", "reward")
"""Metrics that pages without JavaScript draw, as the report does."""


async def curves(request: Request) -> Response:
    """Show the curves, with those of the runs in ``with``."""
    values = await run_values(request)
    other_runs = [name for name in request.query_params.getlist("with") if name]
    points, _ = await _points(client(request), values["run_id"])
    drawings = {
        name: chart({name: list(zip(*points[name], strict=True))})
        for name in DRAWN
        if name in points
    }
    return render(
        request,
        "run_curves.html",
        **values,
        with_runs=[values["run_id"], *other_runs],
        others=other_runs,
        drawings={name: drawing for name, drawing in drawings.items() if drawing},
    )


async def points(request: Request) -> Response:
    """Return the points of a run's metrics as JSON: steps and values by metric."""
    metrics, cursor = await _points(client(request), request.path_params["run"])
    return JSONResponse(
        {
            "metrics": {name: _columns(*columns) for name, columns in metrics.items()},
            "cursor": cursor,
        }
    )


async def curve_events(request: Request) -> Response:
    """Send new points as they arrive."""
    plane, name = client(request), request.path_params["run"]
    follower = _Follower(plane, name, last_cursor(request))
    return event_response(reconnecting(follower.events, lambda: plane.get_run(name)))


class _Follower:
    """Events of a run's metrics after a cursor, across reconnections."""

    def __init__(self, plane: AsyncClient, name: str, cursor: str) -> None:
        self._plane = plane
        self._name = name
        self._cursor = cursor

    def events(self) -> AsyncIterator[Event]:
        """Yield the events, until the run has ended."""
        return self._events()

    async def _events(self) -> AsyncGenerator[Event, None]:
        batches = self._plane.stream_metrics(self._name, follow=True, cursor=self._cursor)
        async for batch in batches:
            self._cursor = batch.cursor
            points = [[point.name, point.step, point.value] for point in batch.points]
            yield Event("points", points, batch.cursor)


async def _points(
    plane: AsyncClient, name: str
) -> tuple[dict[str, tuple[list[int], list[float]]], str]:
    """Return steps and values by metric, and the cursor after them; a later attempt counts."""
    values: dict[str, dict[int, float]] = {}
    cursor = ""
    async for batch in plane.stream_metrics(name):
        cursor = batch.cursor
        for point in batch.points:
            values.setdefault(point.name, {})[point.step] = point.value
    return {
        metric: (sorted(by_step), [by_step[step] for step in sorted(by_step)])
        for metric, by_step in sorted(values.items())
    }, cursor


def _columns(steps: list[int], values: list[float]) -> list[list[float]]:
    pairs = thinned(list(zip(steps, values, strict=True)), MOST_POINTS)
    return [[step for step, _ in pairs], [value for _, value in pairs]]


ROUTES = [
    Route("/runs/{run}/curves", curves),
    Route("/runs/{run}/points", points),
    Route("/runs/{run}/curves/events", curve_events),
]
