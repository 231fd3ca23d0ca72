from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.domain.caller import DEFAULT_PROJECT, Caller
from services.domain.scope import Scope
from services.usecases.access.tokens import NewToken, store_token
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.console.conftest import visit


@pytest.fixture(scope="module")
def guarded(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    """A control plane that requires tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    control_plane = ServedControlPlane.on_copy(sqlite_template, folder, require_tokens=True)
    yield control_plane
    control_plane.stop()


def _token(plane: ServedControlPlane) -> str:
    new = NewToken("visitor", scopes=[Scope.READ])
    database = plane.control_plane.context.database
    return plane.call(store_token(database, Caller(), new, DEFAULT_PROJECT))[1]


async def test_a_visitor_logs_in_with_a_token(guarded: ServedControlPlane) -> None:
    async for visitor in visit(guarded.address):
        refused = await visitor.get("/runs?state=FAILED")
        assert refused.headers["location"] == "/login?next=%2Fruns%3Fstate%3DFAILED"
        await visitor.get(refused.headers["location"])
        wrong = await visitor.post("/login", token="tr_wrong")
        assert wrong.status_code == 403
        token = _token(guarded)
        response = await visitor.post("/login", token=token, next="/runs?state=FAILED")
        assert response.headers["location"] == "/runs?state=FAILED"
        cookie = response.headers["set-cookie"]
        assert token not in cookie
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        page = await visitor.get("/runs")
        assert page.status_code == 200
        await visitor.post("/logout")
        assert (await visitor.get("/runs")).status_code == 303


async def test_over_https_the_cookie_is_bound_to_the_host(guarded: ServedControlPlane) -> None:
    async for visitor in visit(guarded.address):
        visitor.http.base_url = "https://127.0.0.1"
        await visitor.get("/login")
        form = {"form_token": visitor._form_token, "token": _token(guarded)}
        response = await visitor.http.post("/login", data=form)
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("__Host-tailrace-login=")
        assert "Secure" in cookie


@pytest.mark.parametrize("goal", ["//evil.example", "https://evil.example", "/\\evil.example"])
async def test_a_login_leads_to_pages_of_the_console_alone(
    guarded: ServedControlPlane, goal: str
) -> None:
    async for visitor in visit(guarded.address):
        page = await visitor.get("/login", params={"next": goal})
        assert "evil" not in page.text
