"""Artifacts have a key by which other runs find them

Artifacts without a key are those of earlier releases, and of kinds that are not looked up.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("artifact_references", schema=None) as batch_op:
        batch_op.add_column(sa.Column("key", sa.String(length=64), nullable=True))
        batch_op.create_index("ix_artifact_references_key", ["project", "key", "id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("artifact_references", schema=None) as batch_op:
        batch_op.drop_index("ix_artifact_references_key")
        batch_op.drop_column("key")
