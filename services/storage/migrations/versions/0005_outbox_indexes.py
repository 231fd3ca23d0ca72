"""The outbox is found by run and counted by pool"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_constraint("uq_outbox_stage", type_="unique")
        batch_op.create_unique_constraint("uq_outbox_stage", ["run_uid", "stage_id"])
        batch_op.create_index("ix_outbox_pool", ["pool"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_pool")
        batch_op.drop_constraint("uq_outbox_stage", type_="unique")
        batch_op.create_unique_constraint("uq_outbox_stage", ["project", "run_uid", "stage_id"])
