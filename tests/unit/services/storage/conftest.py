"""Empty databases, one per test and dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.storage.engine.database import Database


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    database = Database(empty_database_url)
    yield database
    await database.close()
