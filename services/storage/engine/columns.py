"""Table metadata, and column types for both databases."""

from __future__ import annotations

import enum
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Metadata of all tables; constraints have names so that migrations can alter them."""

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64-bit integer; SQLite numbers rows only in columns that are declared INTEGER."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time with microseconds, in Python always aware and in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC, because SQLite stores text without an offset."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored: it must have a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def enum_type(kind: type[enum.StrEnum], name: str, *, checked: bool = True) -> sa.Enum:
    """Return a column type that stores the values of ``kind`` as text.

    Args:
        kind: The enumeration.
        name: Name of the CHECK constraint.
        checked: Whether a CHECK constraint lists the values: for states, whose set is closed, but
            not for kinds, to which releases add.
    """
    return sa.Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=checked,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


def utc_now() -> datetime:
    """Return the current time for rows."""
    return datetime.now(UTC)
