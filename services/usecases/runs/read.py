"""GetRun, ListRuns, ListPredictions and ListVerdicts: read without changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.domain.caller import Caller
from services.domain.errors import InvalidInput
from services.domain.filter import parse_filter
from services.domain.pages import take_fitting, wire_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.run import Run, RunState
from services.domain.stage import Stage
from services.storage.rows import attempts, evaluations, run_pages, runs, runs_with_stages, stages
from services.storage.rows.evaluations import Position
from services.usecases.context import Context
from services.usecases.runs.predictions_source import source_uid
from services.usecases.runs.view import RunView, StageView, view_with_stages
from tailrace.formats.spec.run_spec import StageKind

DEFAULT_RUNS = 50
"""Default page size of runs."""

ORDERS = ("create_time", "loss", "score", "duration")
"""Fields by which runs are listed."""

DEFAULT_EVALUATIONS = 100
"""Default page size of predictions and verdicts."""


@dataclass(frozen=True)
class ListRuns:
    """Request for a page of runs."""

    filter: str
    """Filter expression, see :mod:`services.domain.filter`."""
    order_by: str
    """Order: one of :data:`ORDERS`, alone or with ``desc``; empty for ``create_time desc``."""
    size: int
    """Page size; 0 for the default."""
    token: str
    """Page token."""


async def get_run(context: Context, caller: Caller, run_id: str) -> RunView:
    """Return a run with its history. Raises ``NotFound``."""
    async with context.database.read() as conn:
        run, run_stages = await runs_with_stages.get(conn, caller.project, run_id)
        return await view_with_stages(conn, context, run, run_stages, with_history=True)


async def list_runs(
    context: Context, caller: Caller, command: ListRuns
) -> tuple[list[RunView], str]:
    """Return a page of runs, with the running attempts alone, and the next token.

    Raises ``InvalidInput``.
    """
    conditions = parse_filter(command.filter)
    order = _order(command.order_by)
    direction = "desc" if order.descending else "asc"
    query = ["runs", caller.project, command.filter, f"{order.field} {direction}"]
    shape = datetime if order.field == "create_time" else str
    position = decode_page_token(command.token, query, [shape, str])
    limit = page_size(command.size, default=DEFAULT_RUNS)
    async with context.database.read() as conn:
        rows = await run_pages.page(
            conn,
            caller.project,
            conditions,
            order=order,
            after=None if position is None else _place(position),
            limit=limit + 1,
        )
        page = take_fitting([(row.size, row) for row in rows], limit)
        run_stages = await stages.list_for_runs(conn, [row.run.uid for row in page])
        current = await attempts.list_current(conn, [row.run.uid for row in page if _runs(row.run)])
    page = take_fitting(
        [(row.size + _results_size(run_stages[row.run.uid]), row) for row in page], limit
    )
    views = [
        RunView(
            row.run,
            [
                StageView(stage, current.get((row.run.uid, stage.stage_id), []), "")
                for stage in run_stages[row.run.uid]
            ],
            [],
        )
        for row in page
    ]
    if len(page) == len(rows):
        return views, ""
    last = page[-1]
    place = last.place if isinstance(last.place, datetime) else repr(last.place)
    return views, encode_page_token([place, last.run.uid], query)


def _order(text: str) -> run_pages.Order:
    """Return the order of a request. Raises ``InvalidInput``."""
    field, _, direction = (" ".join(text.split()) or "create_time desc").partition(" ")
    if field not in ORDERS or direction not in ("", "asc", "desc"):
        raise InvalidInput.field(
            "order_by", f"must be one of {', '.join(ORDERS)}, also with 'desc', not {text!r}"
        )
    return run_pages.Order(field, direction == "desc")


def _place(position: list[Any]) -> tuple[datetime | float, str]:
    """Return the place of a page token. Raises ``InvalidInput``."""
    value, uid = position
    try:
        return (value if isinstance(value, datetime) else float(value)), uid
    except ValueError:
        raise InvalidInput.field("page_token", "is not a page token of this server") from None


def _runs(run: Run) -> bool:
    return run.state in (RunState.RUNNING, RunState.CANCELLING)


async def list_predictions(
    context: Context, caller: Caller, run_id: str, *, eval_set: str, size: int, token: str
) -> tuple[list[dict[str, Any]], str]:
    """Return a page of predictions, plain data, and the next page's token.

    Raises ``InvalidInput`` and ``NotFound``.
    """
    _check_text("eval_set", eval_set)
    query = ["predictions", caller.project, run_id, eval_set]
    after = decode_page_token(token, query, [str, str, str, int])
    limit = page_size(size, default=DEFAULT_EVALUATIONS)
    async with context.database.read() as conn:
        run = await runs.get(conn, caller.project, run_id)
        uid = await source_uid(conn, run, StageKind.INFER)
        rows = await evaluations.page_predictions(
            conn, uid, eval_set=eval_set, after=_position(after), limit=limit + 1
        )
    return _page(rows, limit, query)


async def list_verdicts(
    context: Context,
    caller: Caller,
    run_id: str,
    *,
    eval_set: str,
    judge: str,
    outcome: str,
    size: int,
    token: str,
) -> tuple[list[dict[str, Any]], str]:
    """Return a page of verdicts, plain data, and the next page's token.

    ``outcome`` is the API's word in lower case, empty for all. Raises ``InvalidInput`` and
    ``NotFound``.
    """
    _check_text("eval_set", eval_set)
    _check_text("judge", judge)
    query = ["verdicts", caller.project, run_id, eval_set, judge, outcome]
    after = decode_page_token(token, query, [str, str, str, int, str])
    limit = page_size(size, default=DEFAULT_EVALUATIONS)
    async with context.database.read() as conn:
        run = await runs.get(conn, caller.project, run_id)
        rows = await evaluations.page_verdicts(
            conn,
            await source_uid(conn, run, StageKind.JUDGE),
            filters={"eval_set": eval_set, "judge": judge, "outcome": outcome},
            after=_position(after),
            limit=limit + 1,
        )
    return _page(rows, limit, query)


def _results_size(run_stages: Sequence[Stage]) -> int:
    return sum(wire_size(str((stage.result, stage.error))) for stage in run_stages)


def _check_text(field: str, text: str) -> None:
    if "\0" in text:
        raise InvalidInput.field(field, "contains a NUL character")


def _page(
    rows: list[tuple[Position, dict[str, Any]]], limit: int, query: list[str]
) -> tuple[list[dict[str, Any]], str]:
    page = take_fitting([(wire_size(str(row[1])), row) for row in rows], limit)
    token = encode_page_token(page[-1][0], query) if len(page) < len(rows) else ""
    return [body for _, body in page], token


def _position(after: list[Any] | None) -> Position | None:
    return None if after is None else tuple(after)
