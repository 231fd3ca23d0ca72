"""Predictions and verdicts in the database, one row each, replaced by later attempts; scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.comparison import VerdictGroup, VerdictRow
from services.domain.errors import ResourceExhausted
from services.domain.event import Evaluation
from services.domain.run import Run
from services.storage.engine.columns import BigInt, metadata
from services.storage.engine.insert import upsert
from tailrace.formats.data.verdict import Outcome

_ITEM = ("run_uid", "eval_set", "example_id", "model_role", "sample")

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), primary_key=True),
    sa.Column("eval_set", sa.String(128), primary_key=True),
    sa.Column("example_id", sa.String(128), primary_key=True),
    sa.Column("model_role", sa.String(32), primary_key=True),
    sa.Column("sample", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
)
"""Predictions; ``body`` is the record, and ``attempt`` the attempt that wrote it."""

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), primary_key=True),
    sa.Column("eval_set", sa.String(128), primary_key=True),
    sa.Column("example_id", sa.String(128), primary_key=True),
    sa.Column("model_role", sa.String(32), primary_key=True),
    sa.Column("sample", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("judge", sa.String(63), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
)
"""Verdicts, one per judge and prediction."""

run_scores = sa.Table(
    "run_scores",
    metadata,
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), primary_key=True),
    sa.Column("eval_set", sa.String(128), primary_key=True),
    sa.Column("judge", sa.String(63), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("score", sa.Float(53), nullable=False),
    sa.Index("ix_run_scores_best", "project", "eval_set", "judge", "score", "run_uid"),
)
"""Scores of a run, one per eval set and judge: that of the trained model, else of the one that the
run started from.
"""

MAX_COMPARED = 200_000
"""Maximum number of a run's verdicts in a comparison."""

Position = tuple[str | int, ...]


async def store(
    conn: AsyncConnection, run: Run, attempt: int, records: Sequence[Evaluation]
) -> None:
    """Store predictions and verdicts; the later of two with the same key stays."""
    common = {"run_uid": run.uid, "project": run.project, "attempt": attempt}
    # One statement must not name a row twice: the last record of each key wins here.
    latest = {(record.key, record.judge): record for record in records}
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for record in latest.values():
        row = common | dict(zip(_ITEM[1:], record.key, strict=True)) | {"body": record.body}
        if record.judge is not None:
            row |= {"judge": record.judge, "outcome": record.body.get("outcome", "")}
        rows[record.judge is not None].append(row)
    await upsert(conn, predictions, rows[False], _ITEM)
    await upsert(conn, verdicts, rows[True], (*_ITEM, "judge"))


@dataclass(frozen=True)
class RunScore:
    """Score of a run on one eval set by one judge."""

    eval_set: str
    judge: str
    score: float


async def store_scores(conn: AsyncConnection, run: Run, scores: Sequence[RunScore]) -> None:
    """Store the scores of a run; one that is known already is replaced."""
    common = {"run_uid": run.uid, "project": run.project}
    rows = [common | asdict(score) for score in scores]
    await upsert(conn, run_scores, rows, ("run_uid", "eval_set", "judge"))


async def page_predictions(
    conn: AsyncConnection, run_uid: str, *, eval_set: str, after: Position | None, limit: int
) -> list[tuple[Position, dict[str, Any]]]:
    """Return predictions by eval set and item after a position, each with its own position."""
    return await _page(conn, predictions, _ITEM[1:], run_uid, {"eval_set": eval_set}, after, limit)


async def page_verdicts(
    conn: AsyncConnection,
    run_uid: str,
    *,
    filters: Mapping[str, str],
    after: Position | None,
    limit: int,
) -> list[tuple[Position, dict[str, Any]]]:
    """Return verdicts by eval set and item after a position, each with its own position.

    ``filters`` may name an ``eval_set``, a ``judge`` and an ``outcome``; empty values select all.
    """
    rows = await _page(conn, verdicts, (*_ITEM[1:], "judge"), run_uid, filters, after, limit)
    return [(position, _scored(body)) for position, body in rows]


async def verdict_rows(conn: AsyncConnection, run_uid: str) -> list[VerdictRow]:
    """Return a run's verdicts with the fields that comparisons need.

    Raises:
        ResourceExhausted: There are more than :data:`MAX_COMPARED` (TOO_MANY_VERDICTS).
    """
    v = verdicts.c
    version, score = v.body["version"].as_string(), v.body["score"].as_float()
    columns = (v.judge, v.eval_set, v.model_role, v.example_id, v.outcome, score, version)
    query = sa.select(*columns).where(v.run_uid == run_uid).limit(MAX_COMPARED + 1)
    rows = (await conn.execute(query)).all()
    if len(rows) > MAX_COMPARED:
        raise ResourceExhausted(
            "TOO_MANY_VERDICTS", f"the run has more than the {MAX_COMPARED} verdicts compared"
        )
    return [
        VerdictRow(VerdictGroup(*row[:3]), row[3], _score(row[4], row[5]), row[6] or "")
        for row in rows
    ]


def _score(outcome: str, stored: float | None) -> float | None:
    """Return a verdict's score; errors have none.

    Rows of earlier releases and their workers omit a score of 0.
    """
    return None if outcome == Outcome.ERROR else stored or 0.0


def _scored(body: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in body.items() if name != "score"}
    score = _score(body.get("outcome", ""), body.get("score"))
    return rest if score is None else rest | {"score": score}


async def _page(
    conn: AsyncConnection,
    table: sa.Table,
    order: tuple[str, ...],
    run_uid: str,
    filters: Mapping[str, str],
    after: Position | None,
    limit: int,
) -> list[tuple[Position, dict[str, Any]]]:
    columns = [table.c[name] for name in order]
    query = sa.select(*columns, table.c.body).where(table.c.run_uid == run_uid)
    for name, value in filters.items():
        if not value:
            continue
        matches = table.c[name] == value
        if name == "eval_set" and "@" not in value:
            # The rows name an imported set with its version; without one, all versions match.
            matches |= table.c[name].startswith(f"{value}@", autoescape=True)
        query = query.where(matches)
    if after is not None:
        query = query.where(sa.tuple_(*columns) > sa.tuple_(*map(_literal, after)))
    rows = await conn.execute(query.order_by(*columns).limit(limit))
    return [(tuple(row[:-1]), row[-1]) for row in rows]


def _literal(value: str | int) -> sa.ColumnElement[str | int]:
    # Positions come from clients: a number may exceed its column's type.
    return sa.literal(value, BigInt if isinstance(value, int) else sa.String)
