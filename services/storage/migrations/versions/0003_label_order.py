"""Labels carry their run's state and time, so that indexes lead to the newest runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATE = sa.Enum(
    "QUEUED",
    "RUNNING",
    "CANCELLING",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    name="run_label_state",
    native_enum=False,
    create_constraint=True,
    length=32,
)


def upgrade() -> None:
    with op.batch_alter_table("run_labels", schema=None) as batch_op:
        batch_op.drop_index("ix_run_labels_value")
        batch_op.add_column(sa.Column("state", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("create_time", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE run_labels SET"
        " state = (SELECT runs.state FROM runs WHERE runs.uid = run_labels.run_uid),"
        " create_time = (SELECT runs.create_time FROM runs WHERE runs.uid = run_labels.run_uid)"
    )
    with op.batch_alter_table("run_labels", schema=None) as batch_op:
        batch_op.alter_column(
            "state", existing_type=sa.String(length=32), type_=_STATE, nullable=False
        )
        batch_op.alter_column(
            "create_time", existing_type=sa.DateTime(timezone=True), nullable=False
        )
        batch_op.create_index(
            "ix_run_labels_newest",
            ["project", "name", "value", "create_time", "run_uid"],
            unique=False,
        )
        batch_op.create_index(
            "ix_run_labels_state",
            ["project", "name", "value", "state", "create_time", "run_uid"],
            unique=False,
        )


def downgrade() -> None:
    with op.batch_alter_table("run_labels", schema=None) as batch_op:
        batch_op.drop_index("ix_run_labels_state")
        batch_op.drop_index("ix_run_labels_newest")
        batch_op.drop_constraint(op.f("ck_run_labels_run_label_state"), type_="check")
        batch_op.drop_column("create_time")
        batch_op.drop_column("state")
        batch_op.create_index(
            "ix_run_labels_value", ["project", "name", "value", "run_uid"], unique=False
        )
