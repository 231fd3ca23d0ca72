"""Entry point of Alembic: runs the migrations on a given connection."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from services.storage.engine.columns import UtcDateTime
from services.storage.rows.tables import metadata


def _render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Render column types of this project as their types in the database."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    render_item=_render,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
