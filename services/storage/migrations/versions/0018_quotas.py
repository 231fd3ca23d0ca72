"""Quotas of projects; places of running runs; creators of runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project_quotas",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("quota", sa.String(length=32), nullable=False),
        sa.Column("most", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project", "quota", name=op.f("pk_project_quotas")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("place", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    outbox = sa.table(
        "outbox",
        sa.column("first", sa.Boolean()),
        sa.column("place", sa.Boolean()),
        sa.column("publications", sa.Integer()),
        sa.column("claim", sa.String()),
    )
    is_out = sa.or_(outbox.c.publications > 0, outbox.c.claim != "")
    op.execute(outbox.update().where(outbox.c.first, is_out).values(place=sa.true()))
    op.add_column("runs", sa.Column("creator", sa.Text(), server_default="", nullable=False))
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.create_index("ix_artifacts_size", ["project", "size_bytes"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.drop_index("ix_artifacts_size")
    # Not in a batch: SQLite would replace the table, to which others refer.
    op.drop_column("runs", "creator")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_column("place")
    op.drop_table("project_quotas")
