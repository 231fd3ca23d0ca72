"""Cached stages, gates, baselines, judges of workers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gates", sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("stages", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("cache_key", sa.String(length=64), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("cached_run_uid", sa.String(length=32), nullable=False, server_default="")
        )
        batch_op.create_index("ix_stages_cache_key", ["project", "cache_key"], unique=False)
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("judges", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "baselines",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("baseline_id", sa.String(length=63), nullable=False),
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"], name=op.f("fk_baselines_run_uid_runs")),
        sa.PrimaryKeyConstraint("project", "baseline_id", name=op.f("pk_baselines")),
    )


def downgrade() -> None:
    op.drop_table("baselines")
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("judges")
    with op.batch_alter_table("stages", schema=None) as batch_op:
        batch_op.drop_index("ix_stages_cache_key")
        batch_op.drop_column("cached_run_uid")
        batch_op.drop_column("cache_key")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("gates")
