"""Queued attempts and workers record the broker's errors"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("error", sa.String(length=300), nullable=False, server_default="")
        )
        batch_op.create_index(
            "ix_outbox_error",
            ["due_time"],
            unique=False,
            postgresql_where=sa.text("error <> ''"),
            sqlite_where=sa.text("error <> ''"),
        )
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("broker_error", sa.String(length=300), nullable=False, server_default="")
        )


def downgrade() -> None:
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("broker_error")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_error")
        batch_op.drop_column("error")
        batch_op.drop_column("publish_time")
