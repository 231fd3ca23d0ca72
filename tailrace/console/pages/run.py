"""Run Details: state, stages, scores and origin of a run, kept up to date while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tailrace.cli.run_report import facts, scores
from tailrace.cli.show import run_view
from tailrace.client.aio import AsyncClient
from tailrace.client.runs import TERMINAL_STATES
from tailrace.console.events import Event, event_response, last_cursor, reconnecting
from tailrace.console.rendering import client, is_part, render
from tailrace.console.timeline import Pace, timeline
from tailrace.v1 import run_pb2


async def run_values(request: Request) -> dict[str, Any]:
    """Return the values that every page of the run in the path shows."""
    run = await client(request).get_run(request.path_params["run"])
    return {
        "run": run,
        "run_id": run_view.run_id(run),
        "has_ended": run.state in TERMINAL_STATES,
    }


async def details(request: Request) -> Response:
    """Show the run; htmx asks for the part that changes."""
    values = await run_values(request)
    run = values["run"]
    comparisons = [c for stage in run.stages for c in stage.result.judge.comparisons]
    return render(
        request,
        "run_state.html" if is_part(request) else "run.html",
        **values,
        summary=list(facts.summary(run)),
        timeline=timeline(run, time.time()),
        stages=[facts.stage_facts(stage) for stage in run.stages],
        cards=[scores.card(score) for score in run_view.scores(run)],
        differences=[scores.difference(comparison) for comparison in comparisons],
        gates=[(scores.gate_outcome(gate), gate) for gate in run.gates],
        judges=", ".join(judge.name for judge in facts.spec_of(run).judges),
    )


async def spec_file(request: Request) -> Response:
    """Return the resolved spec as a run file."""
    run = await client(request).get_run(request.path_params["run"])
    name = f"{run_view.run_id(run)}.yaml"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(facts.spec_text(run), media_type="application/yaml", headers=headers)


async def run_events(request: Request) -> Response:
    """Send changes of the run and the progress of its stages."""
    plane, name = client(request), request.path_params["run"]
    cursor = last_cursor(request)
    watcher = _Watcher(plane, name, int(cursor) if cursor.isdecimal() else 0)
    return event_response(reconnecting(watcher.events, lambda: plane.get_run(name)))


class _Watcher:
    """Events of a run after a revision, across reconnections."""

    def __init__(self, plane: AsyncClient, name: str, revision: int) -> None:
        self._plane = plane
        self._name = name
        self._revision = revision
        self._shape: object = None
        self._paces: dict[tuple[str, int], Pace] = {}

    async def _events(self) -> AsyncGenerator[Event, None]:
        async for run in self._plane.watch_run(self._name, after_revision=self._revision):
            self._revision = run.revision
            cursor = str(run.revision)
            shape = _shape(run)
            if shape != self._shape:
                self._shape = shape
                yield Event("run", run_view.run_state(run), cursor)
            for stage in run.stages:
                if stage.state == run_pb2.STAGE_STATE_RUNNING and stage.progress.total:
                    yield Event("progress", self._progress(stage), cursor)

    def events(self) -> AsyncIterator[Event]:
        """Yield the events, until the run has ended."""
        return self._events()

    def _progress(self, stage: run_pb2.Stage) -> dict[str, object]:
        progress = stage.progress
        pace = self._paces.setdefault((stage.id, stage.attempt), Pace())
        to_go = pace.to_go(progress.done, progress.total, asyncio.get_running_loop().time())
        return {
            "stage": stage.id,
            "done": progress.done,
            "total": progress.total,
            "text": f"{progress.done:,}/{progress.total:,} {progress.unit}{to_go}",
        }


def _shape(run: run_pb2.Run) -> object:
    """Return what a page shows of a run, without its progress."""
    return (
        run.state,
        [
            (s.state, s.attempt, s.waiting_reason, len(s.attempts), [a.state for a in s.attempts])
            for s in run.stages
        ],
    )


ROUTES = [
    Route("/runs/{run}", details),
    Route("/runs/{run}/spec.yaml", spec_file),
    Route("/runs/{run}/events", run_events),
]
