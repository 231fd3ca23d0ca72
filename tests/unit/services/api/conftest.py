"""A served control plane and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tailrace
from tests.servers.control_plane import ServedControlPlane


@pytest.fixture(scope="package")
def served(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    control_plane = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("served"))
    yield control_plane
    control_plane.stop()


@pytest.fixture
def client(served: ServedControlPlane) -> Iterator[tailrace.Client]:
    with tailrace.Client(served.address) as client:
        yield client
