"""The SQL schema as the migrations create it, for both databases."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from services.storage.rows.tables import metadata


def sqlite() -> str:
    """Return the statements for SQLite."""
    return _statements(sqlite_dialect.dialect())


def postgresql() -> str:
    """Return the statements for PostgreSQL."""
    return _statements(postgresql_dialect.dialect())


def _statements(dialect: Dialect) -> str:
    lines: list[str] = []
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        created = str(CreateTable(table).compile(dialect=dialect))
        lines += [line.rstrip().replace("\t", "  ") for line in created.strip().splitlines()]
        indexes = (str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)
        lines += [*sorted(indexes), ""]
    return "\n".join(lines)
