"""Sessions: tokens that last for hours, with the rights of another credential"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tokens") as table:
        table.add_column(
            sa.Column("subject", sa.String(length=1000), nullable=False, server_default="")
        )
        table.add_column(
            sa.Column("parent_id", sa.String(length=32), nullable=False, server_default="")
        )
        table.add_column(sa.Column("roles", sa.JSON(), nullable=False, server_default="{}"))
        table.create_index("ix_tokens_parent_id", ["parent_id"])


def downgrade() -> None:
    with op.batch_alter_table("tokens") as table:
        table.drop_index("ix_tokens_parent_id")
        table.drop_column("roles")
        table.drop_column("parent_id")
        table.drop_column("subject")
