"""Kinds of stages and artifacts lose their CHECK constraints: a new kind needs no migration"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CHECKS = {
    ("stages", "ck_stages_stage_kind"): "kind IN ('train', 'infer', 'judge')",
    ("artifact_references", "ck_artifact_references_artifact_kind"): (
        "kind IN ('dataset', 'split', 'checkpoint', 'model', 'metrics', 'predictions', 'verdicts')"
    ),
}


def upgrade() -> None:
    for (table, name), condition in _CHECKS.items():
        if op.get_bind().dialect.name == "sqlite":
            _edit_sqlite_table(
                table, rf",\s*CONSTRAINT {name} CHECK \({re.escape(condition)}\)", ""
            )
        else:
            op.drop_constraint(op.f(name), table, type_="check")


def downgrade() -> None:
    for (table, name), condition in _CHECKS.items():
        if op.get_bind().dialect.name == "sqlite":
            check = f", CONSTRAINT {name} CHECK ({condition})\n)"
            _edit_sqlite_table(table, r"\s*\)\s*\Z", check)
        else:
            op.create_check_constraint(op.f(name), table, condition)


def _edit_sqlite_table(table: str, pattern: str, replacement: str) -> None:
    """Replace the only match of a pattern in a table's definition.

    Alembic would rebuild the table, which fails because other tables refer to it. SQLite documents
    this edit for constraints, which do not affect the stored content ("Making Other Kinds Of Table
    Schema Changes", https://www.sqlite.org/lang_altertable.html).
    """
    connection = op.get_bind()
    text = str(
        connection.scalar(
            sa.text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": table}
        )
    )
    edited, count = re.subn(pattern, lambda _: replacement, text)
    if count != 1:
        raise RuntimeError(f"table {table} does not have the expected constraint: {text}")
    version = int(connection.scalar(sa.text("PRAGMA schema_version")) or 0)
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    update = sa.text("UPDATE sqlite_master SET sql = :sql WHERE type = 'table' AND name = :name")
    connection.execute(update, {"sql": edited, "name": table})
    # A new version makes every connection read the schema again.
    connection.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = OFF"))
