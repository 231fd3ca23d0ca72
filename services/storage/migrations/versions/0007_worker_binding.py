"""A worker's name is bound to its instance; drains last

Workers that registered earlier belong to the next instance that registers under their name.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("workers", schema=None) as batch_op:
        for name in ("instance_digest", "secret_digest"):
            column = sa.Column(name, sa.String(length=64), nullable=False, server_default="")
            batch_op.add_column(column)
        batch_op.add_column(
            sa.Column("drained", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("workers", schema=None) as batch_op:
        for name in ("instance_digest", "secret_digest", "drained"):
            batch_op.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("workers", schema=None) as batch_op:
        for name in ("drained", "secret_digest", "instance_digest"):
            batch_op.drop_column(name)
