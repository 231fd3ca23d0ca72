"""Runs are found and sorted by dataset, model, loss, score and duration"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_FIGURES = ("loss", "score", "duration")
_BATCH = 500


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        for name in ("dataset", "model"):
            batch_op.add_column(
                sa.Column(name, sa.String(length=256), server_default="", nullable=False)
            )
        for name in _FIGURES:
            batch_op.add_column(sa.Column(name, sa.Float(53), nullable=True))
    for name in ("dataset", "model"):
        op.create_index(f"ix_runs_{name}", "runs", ["project", name, "create_time", "uid"])
    for name in _FIGURES:
        where = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"ix_runs_{name}",
            "runs",
            ["project", name, "uid"],
            sqlite_where=where,
            postgresql_where=where,
        )
    op.create_table(
        "run_scores",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("eval_set", sa.String(length=128), nullable=False),
        sa.Column("judge", sa.String(length=63), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"], name=op.f("fk_run_scores_run_uid_runs")),
        sa.PrimaryKeyConstraint("run_uid", "eval_set", "judge", name=op.f("pk_run_scores")),
    )
    op.create_index(
        "ix_run_scores_best", "run_scores", ["project", "eval_set", "judge", "score", "run_uid"]
    )
    _fill(op.get_bind())


def downgrade() -> None:
    op.drop_index("ix_run_scores_best", table_name="run_scores")
    op.drop_table("run_scores")
    for name in ("dataset", "model", *_FIGURES):
        op.drop_index(f"ix_runs_{name}", table_name="runs")
    # In place: on SQLite a batch would replace the table, to which others refer.
    for name in ("dataset", "model", *_FIGURES):
        op.drop_column("runs", name)


def _fill(conn: sa.Connection) -> None:
    """Derive the columns of runs that exist already."""
    runs = sa.table(
        "runs",
        *map(sa.column, ("uid", "project", "dataset", "model", *_FIGURES)),
        sa.column("resolved_spec", sa.JSON),
        sa.column("start_time", sa.DateTime(timezone=True)),
        sa.column("end_time", sa.DateTime(timezone=True)),
    )
    stages = sa.table(
        "stages", sa.column("run_uid"), sa.column("ordinal"), sa.column("result", sa.JSON)
    )
    scores = sa.table(
        "run_scores", *map(sa.column, ("run_uid", "eval_set", "judge", "project", "score"))
    )
    after = ""
    while True:
        query = sa.select(runs).where(runs.c.uid > after).order_by(runs.c.uid).limit(_BATCH)
        batch = conn.execute(query).mappings().all()
        if not batch:
            return
        after = batch[-1]["uid"]
        results: dict[str, list[Any]] = {}
        of_batch = stages.c.run_uid.in_([run["uid"] for run in batch])
        for uid, result in conn.execute(
            sa.select(stages.c.run_uid, stages.c.result).where(of_batch).order_by(stages.c.ordinal)
        ):
            results.setdefault(uid, []).append(_plain(result) or {})
        rows = []
        for run in batch:
            figures, of_run = _figures(run, results.get(run["uid"], []))
            conn.execute(runs.update().where(runs.c.uid == run["uid"]).values(**figures))
            rows += of_run
        if rows:
            conn.execute(scores.insert(), rows)


def _figures(run: Any, results: list[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    spec = _plain(run["resolved_spec"])
    model = spec.get("model") or {}
    names = {"dataset": spec.get("dataset"), "model": model.get("preset") or model.get("source")}
    figures: dict[str, Any] = {
        name: str(value or "").partition("@")[0] for name, value in names.items()
    }
    if run["end_time"] is None:
        return figures, []
    if run["start_time"] is not None:
        figures["duration"] = (run["end_time"] - run["start_time"]).total_seconds()
    losses = [result["train"].get("last_loss") for result in results if "train" in result]
    figures["loss"] = losses[0] if losses else None
    judged = [
        score
        for result in results
        for score in result.get("judge", {}).get("scores", ())
        if score.get("score") is not None
    ]
    trained = [score for score in judged if score.get("model_role") == "trained"]
    by_set: dict[tuple[str, str], float] = {}
    for score in (*trained, *judged):
        by_set.setdefault((score["eval_set"], score["judge"]), score["score"])
    figures["score"] = next(iter(by_set.values()), None)
    rows = [
        {
            "run_uid": run["uid"],
            "project": run["project"],
            "eval_set": eval_set,
            "judge": judge,
            "score": score,
        }
        for (eval_set, judge), score in by_set.items()
    ]
    return figures, rows


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
