"""Projects; tokens belong to one, or to all for administrators and workers"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TOKENS = sa.table("tokens", sa.column("project"), sa.column("scopes", sa.JSON()))
_SCOPES = sa.cast(_TOKENS.c.scopes, sa.Text())


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("project_id", sa.String(length=63), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_projects")),
    )
    now = datetime.now(UTC)
    op.bulk_insert(projects, [{"project_id": "default", "description": "", "create_time": now}])
    in_all = _SCOPES.like('%"admin"%') | _SCOPES.like('%"worker"%')
    op.execute(sa.update(_TOKENS).where(in_all).values(project="-"))


def downgrade() -> None:
    op.execute(sa.update(_TOKENS).where(_TOKENS.c.project == "-").values(project="default"))
    op.drop_table("projects")
