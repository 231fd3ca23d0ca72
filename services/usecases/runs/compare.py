"""CompareRuns: compare runs with the first of them."""

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
"""Maximum number of compared runs."""

MAX_POINTS = 500
"""Maximum number of points of a curve."""

CURVES = ("loss", "eval_loss")
"""Metrics with curves."""

_NOT_COMPARED = ("labels", "execution", "retry", "cache", "gates")
"""Blocks of a spec that do not affect the results."""


@dataclass(frozen=True)
class Curve:
    """Curve of one metric of one run."""

    run: str
    name: str
    points: list[MetricPoint]


@dataclass(frozen=True)
class Comparison:
    """Comparison of runs; plain data as in the API."""

    runs: list[RunView]
    spec_differences: dict[str, list[Any]]
    metrics: dict[str, list[Any]]
    curves: list[Curve]
    verdicts: list[dict[str, Any]]


async def compare_runs(context: Context, caller: Caller, run_ids: list[str]) -> Comparison:
    """Compare runs with the first. Raises ``InvalidInput``, ``NotFound``, ``ResourceExhausted``."""
    _check(run_ids)
    async with context.database.read() as conn:
        compared_runs = [await runs.get(conn, caller.project, run_id) for run_id in run_ids]
        # An id and a uid may name the same run.
        _check([run.run_id for run in compared_runs])
        views = [await view(conn, context, run) for run in compared_runs]
        scores = [await scores_of(conn, run_view.run) for run_view in views]
    later_scores = {
        run_view.run.name: run_scores for run_view, run_scores in zip(views, scores, strict=True)
    }
    first_scores = later_scores.pop(views[0].run.name)
    verdicts = await asyncio.to_thread(verdict_comparisons, first_scores, later_scores)
    specs = [
        {
            name: block
            for name, block in run_view.run.stored_spec.mapping.items()
            if name not in _NOT_COMPARED
        }
        for run_view in views
    ]
    curves = [
        curve for run in compared_runs for curve in await _curves(context, caller, run.run_id)
    ]
    return Comparison(views, differences(specs), _metrics(views), curves, verdicts)


def _check(run_ids: list[str]) -> None:
    if not 2 <= len(run_ids) <= MAX_RUNS:
        raise InvalidInput.field("names", f"must name 2 to {MAX_RUNS} runs, not {len(run_ids)}")
    duplicates = [
        Violation(f"names[{i}]", f"{run_name(run_id)} is named twice")
        for i, run_id in enumerate(run_ids)
        if run_id in run_ids[:i]
    ]
    if duplicates:
        raise InvalidInput(duplicates)


def _metrics(views: list[RunView]) -> dict[str, list[Any]]:
    """Return the final numbers of each run by name; ``None`` where a run has none."""
    numbers_by_run: list[dict[str, Any]] = []
    for run_view in views:
        numbers: dict[str, Any] = {}
        for stage in run_view.stages:
            for kind, body in (stage.stage.result or {}).items():
                numbers |= {f"{kind}.{name}": v for name, v in body.items() if _is_number(v)}
                for score in body.get("scores", []):
                    keys = (score.get(key, "") for key in ("judge", "eval_set", "model_role"))
                    numbers[" ".join(("score", *keys))] = score.get("score")
        numbers_by_run.append(numbers)
    names = sorted({name for numbers in numbers_by_run for name in numbers})
    return {name: [numbers.get(name) for numbers in numbers_by_run] for name in names}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


async def _curves(context: Context, caller: Caller, run_id: str) -> list[Curve]:
    """Return a run's curves; the last value counts for a step that ran several times."""
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
    """Return at most :data:`MAX_POINTS` points at even distances, with the first and the last."""
    if len(points) <= MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
