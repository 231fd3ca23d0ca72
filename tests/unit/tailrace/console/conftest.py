"""The console in this process, called as a browser would, before a real control plane."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

import tailrace
from tailrace.access import PLAINTEXT, Access
from tailrace.console.app import create_app
from tailrace.console.settings import Settings
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.console.runs import build_runs

URL = "http://127.0.0.1:7480"


class Visitor:
    """A browser without scripts: it keeps cookies and sends the token of the last page's forms."""

    def __init__(self, app: Starlette) -> None:
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=URL)
        self._form_token = ""

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """Load a page."""
        response = await self.http.get(path, **options)
        token = re.search(r'X-Form-Token&#34;: &#34;(\w+)|"X-Form-Token": "(\w+)"', response.text)
        if token:
            self._form_token = token[1] or token[2]
        return response

    async def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form of the page that was loaded last."""
        form = {"form_token": self._form_token, **fields}
        return await self.http.post(path, data=form, headers={"origin": URL})


async def visit(address: str, access: Access = PLAINTEXT) -> AsyncIterator[Visitor]:
    """Yield a visitor of a console for the control plane at an address."""
    app = create_app(Settings(), address, access)
    async with app.router.lifespan_context(app):
        visitor = Visitor(app)
        yield visitor
        await visitor.http.aclose()


@pytest.fixture(scope="package")
def served(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    """The control plane of all tests here, on a migrated database of its own."""
    control_plane = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("console"))
    yield control_plane
    control_plane.stop()


@pytest.fixture(scope="package")
def runs(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    """A control plane with the runs ``judged``, ``better``, ``failed`` and ``busy``."""
    # Nothing sends heartbeats for the stage that runs.
    control_plane = ServedControlPlane.on_copy(
        sqlite_template, tmp_path_factory.mktemp("runs"), lease_seconds=3600.0
    )
    build_runs(control_plane)
    yield control_plane
    control_plane.stop()


@pytest.fixture
def client(served: ServedControlPlane) -> Iterator[tailrace.Client]:
    """A client of the control plane, to prepare what a page shows."""
    with tailrace.Client(served.address, access=PLAINTEXT) as client:
        yield client


@pytest.fixture
async def visitor(served: ServedControlPlane) -> AsyncIterator[Visitor]:
    """A visitor of the console."""
    async for one in visit(served.address):
        yield one
