from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.usecases.content import datasets
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stored_content import make_context


@pytest.fixture
async def driver(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    """A registered worker over a database that holds golden-v2."""
    context = make_context(empty_database_url, tmp_path / "data", dispatch_grace_seconds=30)
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    yield driver
    await context.database.close()
