"""Keys that all training methods share move from train.sft to train in stored specs"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SHARED = (
    "epochs",
    "max_steps",
    "batch_size",
    "micro_batch_size",
    "max_seq_length",
    "packing",
    "group_by_length",
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "warmup_steps",
    "schedule",
    "min_learning_rate_ratio",
    "gradient_clip",
)

_PAGE = 50
"""Number of runs that are read at a time: the largest specs are megabytes."""

_runs = sa.table(
    "runs",
    sa.column("uid", sa.String),
    sa.column("spec", sa.JSON),
    sa.column("resolved_spec", sa.JSON),
)


def upgrade() -> None:
    _rewrite(_lift)


def downgrade() -> None:
    _rewrite(_lower)


def _rewrite(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Apply ``change`` to the ``train`` block of every stored spec."""
    connection = op.get_bind()
    for run in _pages(connection):
        values = {}
        for name in ("spec", "resolved_spec"):
            spec = run._mapping[name]
            train = spec.get("train") if isinstance(spec, dict) else None
            if isinstance(train, dict) and change(train) != train:
                values[name] = {**spec, "train": change(train)}
        if values:
            connection.execute(_runs.update().where(_runs.c.uid == run.uid).values(values))


def _pages(connection: sa.Connection) -> Iterator[sa.Row[Any]]:
    """Yield every run, a page at a time and in the order of their uids."""
    query = sa.select(_runs).order_by(_runs.c.uid).limit(_PAGE)
    page = connection.execute(query).all()
    while page:
        yield from page
        page = connection.execute(query.where(_runs.c.uid > page[-1].uid)).all()


def _lift(train: dict[str, Any]) -> dict[str, Any]:
    sft = train.get("sft")
    if not isinstance(sft, dict):
        return train
    shared = {name: sft[name] for name in _SHARED if name in sft}
    own = {name: value for name, value in sft.items() if name not in shared}
    return {**train, **shared, "sft": own}


def _lower(train: dict[str, Any]) -> dict[str, Any]:
    shared = {name: train[name] for name in _SHARED if name in train}
    own = {name: value for name, value in train.items() if name not in shared}
    sft = train.get("sft")
    return {**own, "sft": {**shared, **(sft if isinstance(sft, dict) else {})}}
