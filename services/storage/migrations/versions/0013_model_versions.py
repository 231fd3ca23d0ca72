"""Models have versions, promoted from runs, and aliases

Models that were imported earlier are version 1.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("run_uid", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("force_reason", sa.Text(), nullable=False, server_default=""))
        batch_op.drop_constraint("pk_models", type_="primary")
        batch_op.create_primary_key("pk_models", ["project", "model_id", "version"])
        batch_op.create_foreign_key("fk_models_run_uid_runs", "runs", ["run_uid"], ["uid"])
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.alter_column("version", server_default=None)
        batch_op.alter_column("force_reason", server_default=None)
    op.create_table(
        "model_aliases",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project", "model_id", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_table(
        "model_alias_moves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=False),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_alias_moves")),
    )
    op.create_index(
        "ix_model_alias_moves_model", "model_alias_moves", ["project", "model_id", "id"]
    )


def downgrade() -> None:
    op.drop_index("ix_model_alias_moves_model", table_name="model_alias_moves")
    op.drop_table("model_alias_moves")
    op.drop_table("model_aliases")
    op.execute("DELETE FROM models WHERE version > 1")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_constraint("fk_models_run_uid_runs", type_="foreignkey")
        batch_op.drop_constraint("pk_models", type_="primary")
        batch_op.create_primary_key("pk_models", ["project", "model_id"])
        for name in ("force_reason", "run_uid", "version"):
            batch_op.drop_column(name)
