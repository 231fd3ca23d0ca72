"""Audit log: events, and both ends of their hash chain; histories of runs name actors"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", _BIG_INT, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("suppressed", _BIG_INT, nullable=False),
        sa.Column("sequence", _BIG_INT, nullable=True),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_project", "audit_events", ["project", "id"])
    op.create_index(
        "ix_audit_events_sequence",
        "audit_events",
        ["sequence"],
        unique=True,
        postgresql_where=sa.text("sequence IS NOT NULL"),
        sqlite_where=sa.text("sequence IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_events_unchained",
        "audit_events",
        ["id"],
        postgresql_where=sa.text("sequence IS NULL"),
        sqlite_where=sa.text("sequence IS NULL"),
    )
    op.create_table(
        "audit_chain",
        sa.Column("name", sa.String(length=8), nullable=False),
        sa.Column("sequence", _BIG_INT, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_audit_chain")),
    )
    op.add_column("transitions", sa.Column("actor", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("transitions", "actor")
    op.drop_table("audit_chain")
    op.drop_index("ix_audit_events_unchained", table_name="audit_events")
    op.drop_index("ix_audit_events_sequence", table_name="audit_events")
    op.drop_index("ix_audit_events_project", table_name="audit_events")
    op.drop_table("audit_events")
