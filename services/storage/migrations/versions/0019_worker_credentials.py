"""Worker tokens name their worker; revocations of workers' certificates"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TOKENS = sa.table(
    "tokens",
    sa.column("scopes", sa.JSON()),
    sa.column("revoke_time", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.create_table(
        "revoked_certificates",
        sa.Column("worker_id", sa.String(length=63), nullable=False),
        sa.Column("revoke_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_revoked_certificates")),
    )
    with op.batch_alter_table("tokens") as table:
        table.add_column(
            sa.Column("worker_id", sa.String(length=63), nullable=False, server_default="")
        )
        table.add_column(sa.Column("pools", sa.JSON(), nullable=False, server_default="[]"))
    # Tokens that name no worker would act under every name.
    unbound = sa.cast(_TOKENS.c.scopes, sa.Text()).like('%"worker"%')
    op.execute(
        sa.update(_TOKENS)
        .where(unbound, _TOKENS.c.revoke_time.is_(None))
        .values(revoke_time=datetime.now(UTC))
    )


def downgrade() -> None:
    with op.batch_alter_table("tokens") as table:
        table.drop_column("pools")
        table.drop_column("worker_id")
    op.drop_table("revoked_certificates")
