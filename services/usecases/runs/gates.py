"""Gates of a run, checked in the transaction that ends the run."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.comparison import ItemScores, VerdictGroup, compare_items, item_scores
from services.domain.errors import ResourceExhausted
from services.domain.gate import (
    GateOutcome,
    MissingValueError,
    Paired,
    Results,
    check_gate,
    lift_of,
    measure,
)
from services.domain.run import Run, parse_run_name
from services.domain.stage import Stage
from services.storage.rows import evaluations, runs, stages
from services.usecases.runs.lifecycle import LockedRun
from services.usecases.runs.predictions_source import source_uid
from tailrace.formats.results import ComparisonKind
from tailrace.formats.spec.gate_spec import GateMetric, GateSpec
from tailrace.formats.spec.run_spec import StageKind


async def check_gates(conn: AsyncConnection, locked_run: LockedRun) -> list[dict[str, Any]]:
    """Return the outcome of each gate of a run with all results; plain data as in the API."""
    return [await _check(conn, locked_run, gate) for gate in locked_run.run.resolved_spec.gates]


async def scores_of(conn: AsyncConnection, run: Run) -> dict[VerdictGroup, ItemScores]:
    """Return the judges' scores for each item of a run. Raises ``ResourceExhausted``."""
    uid = await source_uid(conn, run, StageKind.JUDGE)
    rows = await evaluations.verdict_rows(conn, uid)
    return await asyncio.to_thread(item_scores, rows)


async def _check(conn: AsyncConnection, locked_run: LockedRun, gate: GateSpec) -> dict[str, Any]:
    gate_result: dict[str, Any] = {"name": gate.name}
    if gate.baseline is not None:
        gate_result["baseline"] = gate.baseline
    try:
        outcome, reason = await _evaluate(conn, locked_run, gate, gate_result)
    except (MissingValueError, ResourceExhausted) as error:
        outcome, reason = GateOutcome.ERROR, str(error)
    return gate_result | {"outcome": outcome.value, "reason": reason}


async def _evaluate(
    conn: AsyncConnection, locked_run: LockedRun, gate: GateSpec, gate_result: dict[str, Any]
) -> tuple[GateOutcome, str]:
    """Return the outcome and reason of a gate; add the measured values to ``gate_result``."""
    results = _results(locked_run.stages)
    value = measure(gate, results, "the run")
    gate_result["value"] = value.value
    baseline = paired = None
    if gate.baseline is not None:
        other = await runs.get(conn, locked_run.run.project, parse_run_name(gate.baseline))
        baseline_results = _results(await stages.list_for_run(conn, other.uid))
        baseline = measure(gate, baseline_results, gate.baseline)
        gate_result["baseline_value"] = baseline.value
        if gate.not_significantly_worse is not None:
            paired = await _paired(conn, locked_run.run, other, gate)
    elif gate.metric is GateMetric.LIFT and gate.not_significantly_worse is not None:
        paired = lift_of(gate, results, "the run")
    return check_gate(gate, value, baseline, paired)


async def _paired(conn: AsyncConnection, run: Run, other: Run, gate: GateSpec) -> Paired:
    """Return the comparison of the run with its baseline, item by item."""
    run_scores, baseline_scores = await scores_of(conn, run), await scores_of(conn, other)
    roles = [gate.model_role.value] if gate.model_role else ["trained", "base"]
    keys = [VerdictGroup(gate.judge or "", gate.eval_set or "", role) for role in roles]
    scores = next((run_scores[key] for key in keys if key in run_scores), None)
    base = next((baseline_scores[key] for key in keys if key in baseline_scores), None)
    if scores is None or base is None:
        raise MissingValueError(f"{gate.judge} has no verdicts on {gate.eval_set} in both runs")
    comparison = await asyncio.to_thread(
        compare_items, keys[0], base, scores, ComparisonKind.BASELINE
    )
    items = sum(comparison.get(name, 0) for name in ("wins", "losses", "ties"))
    return Paired(items, comparison.get("difference", 0.0), comparison.get("p_value", 1.0))


def _results(run_stages: list[Stage]) -> Results:
    """Return the results of stages by kind."""
    return {kind: body for stage in run_stages for kind, body in (stage.result or {}).items()}
