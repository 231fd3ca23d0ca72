"""CompareRuns: runs beside the first of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from services.domain.caller import Caller
from services.domain.comparison import differences, verdict_comparisons
from services.domain.errors import InvalidInput
from services.domain.event import Channel, MetricPoint
from services.domain.run import run_name
from services.storage.rows import runs
from services.usecases.context import Context
from services.usecases.runs.follow import Follow, follow
from services.usecases.runs.gates import scores_of
from services.usecases.runs.view import RunView, view
from tailrace.formats.schema import Violation

MAX_RUNS = 10
"""Most runs that are compared at a time."""

MAX_POINTS = 500
"""Points of a curve."""

CURVES = ("loss", "eval_loss")
"""Metrics whose curves are laid over each other."""

_NOT_COMPARED = ("labels", "execution", "retry", "cache", "gates")
"""Blocks of a spec that say nothing about what comes out."""


@dataclass(frozen=True)
class Curve:
    """One run's curve of one metric."""

    run: str
    name: str
    points: list[MetricPoint]


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other; plain data as in the API."""

    runs: list[RunView]
    spec_differences: dict[str, list[Any]]
    metrics: dict[str, list[Any]]
    curves: list[Curve]
    verdicts: list[dict[str, Any]]


async def compare_runs(context: Context, caller: Caller, run_ids: list[str]) -> Comparison:
    """Compare runs with the first. Raises ``InvalidInput``, ``NotFound``, ``ResourceExhausted``."""
    _check(run_ids)
    async with context.database.read() as conn:
        compared = [await runs.get(conn, caller.project, run_id) for run_id in run_ids]
        # An id and a uid may name the same run.
        _check([run.run_id for run in compared])
        views = [await view(conn, run) for run in compared]
        scores = [await scores_of(conn, each.run) for each in views]
    others = {each.run.name: of_run for each, of_run in zip(views, scores, strict=True)}
    first = others.pop(views[0].run.name)
    verdicts = await asyncio.to_thread(verdict_comparisons, first, others)
    specs = [
        {
            name: block
            for name, block in each.run.stored_spec.mapping.items()
            if name not in _NOT_COMPARED
        }
        for each in views
    ]
    curves = [curve for run in compared for curve in await _curves(context, caller, run.run_id)]
    return Comparison(views, differences(specs), _metrics(views), curves, verdicts)


def _check(run_ids: list[str]) -> None:
    if not 2 <= len(run_ids) <= MAX_RUNS:
        raise InvalidInput.field("names", f"has {len(run_ids)}, needs 2 to {MAX_RUNS} runs")
    twice = [
        Violation(f"names[{i}]", f"{run_name(run_id)} is named twice")
        for i, run_id in enumerate(run_ids)
        if run_id in run_ids[:i]
    ]
    if twice:
        raise InvalidInput(twice)


def _metrics(views: list[RunView]) -> dict[str, list[Any]]:
    """Final numbers of each run by name, ``None`` where there is none."""
    found: list[dict[str, Any]] = []
    for each in views:
        numbers: dict[str, Any] = {}
        for stage in each.stages:
            for kind, result in (stage.stage.result or {}).items():
                numbers |= {f"{kind}.{name}": v for name, v in result.items() if _is_number(v)}
                for score in result.get("scores", []):
                    what = (score.get(key, "") for key in ("judge", "eval_set", "model_role"))
                    numbers[" ".join(("score", *what))] = score.get("score")
        found.append(numbers)
    names = sorted({name for numbers in found for name in numbers})
    return {name: [numbers.get(name) for numbers in found] for name in names}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


async def _curves(context: Context, caller: Caller, run_id: str) -> list[Curve]:
    """A run's curves; of a step that was run again the later value counts."""
    steps: dict[str, dict[int, MetricPoint]] = {name: {} for name in CURVES}
    command = Follow(Channel.METRICS, "", follow=False)
    async for piece in follow(context, caller, run_id, command):
        for record in piece.records:
            point = MetricPoint.from_record(record)
            if point.name in steps:
                steps[point.name][point.step] = point
    return [
        Curve(run_name(run_id), name, thin_out([of_step[step] for step in sorted(of_step)]))
        for name, of_step in steps.items()
        if of_step
    ]


def thin_out(points: list[MetricPoint]) -> list[MetricPoint]:
    """At most :data:`MAX_POINTS` of them, evenly chosen, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
