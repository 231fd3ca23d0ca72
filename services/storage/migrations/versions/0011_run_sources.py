"""Runs start from the models of other runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_sources",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("source_uid", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_uid"], ["runs.uid"], name=op.f("fk_run_sources_run_uid_runs")
        ),
        sa.ForeignKeyConstraint(
            ["source_uid"], ["runs.uid"], name=op.f("fk_run_sources_source_uid_runs")
        ),
        sa.PrimaryKeyConstraint("run_uid", name=op.f("pk_run_sources")),
    )
    op.create_index("ix_run_sources_source", "run_sources", ["source_uid", "run_uid"])


def downgrade() -> None:
    op.drop_index("ix_run_sources_source", table_name="run_sources")
    op.drop_table("run_sources")
