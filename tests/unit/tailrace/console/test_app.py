from __future__ import annotations

import pytest
from starlette.routing import Route

from tailrace.access import PLAINTEXT
from tailrace.console import pages
from tailrace.console.app import create_app
from tailrace.console.changes import change
from tailrace.console.settings import Settings
from tailrace.console.uploads import upload
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.console.conftest import URL, Visitor, visit


async def test_a_page_has_the_headers_that_keep_foreign_code_out(visitor: Visitor) -> None:
    response = await visitor.get("/runs")
    policy = response.headers["content-security-policy"]
    assert response.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["cache-control"] == "no-store"
    assert " style=" not in response.text
    assert "<script>" not in response.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7480", "", "127.0.0.1.evil.example"]
)
async def test_requests_under_another_name_are_refused(visitor: Visitor, host: str) -> None:
    response = await visitor.http.get("/runs", headers={"host": host})
    assert response.status_code == 421


async def test_an_allowed_name_is_served(served: ServedControlPlane) -> None:
    app = create_app(Settings(hosts="console.example"), served.address, PLAINTEXT)
    async with app.router.lifespan_context(app):
        response = await Visitor(app).http.get("/health", headers={"host": "console.example"})
    assert response.status_code == 200


async def test_changes_from_another_origin_are_refused(visitor: Visitor) -> None:
    await visitor.get("/login")
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}):
        response = await visitor.http.post("/logout", headers=headers)
        assert response.status_code == 403
    response = await visitor.http.post("/logout", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 403


async def test_a_form_without_the_token_of_its_page_changes_nothing(visitor: Visitor) -> None:
    await visitor.get("/login")
    assert (await visitor.post("/logout", form_token="forged")).status_code == 403
    assert (await visitor.post("/logout")).status_code == 303


async def test_the_token_of_another_browser_is_refused(
    visitor: Visitor, served: ServedControlPlane
) -> None:
    await visitor.get("/login")
    visitor.http.cookies.clear()
    assert (await visitor.post("/logout")).status_code == 403


def test_every_change_checks_its_form() -> None:
    routes = (change("/", None), upload("/", None))  # type: ignore[arg-type]
    checked = {route.endpoint.__qualname__ for route in routes}
    for route in pages.ROUTES:
        assert isinstance(route, Route)
        if set(route.methods or ()) - {"GET", "HEAD"}:
            assert route.endpoint.__qualname__ in checked, route.path


async def test_a_missing_page_says_so(visitor: Visitor) -> None:
    response = await visitor.get("/nothing")
    assert response.status_code == 404
    assert "There is no such page" in response.text


async def test_static_files_are_kept_by_browsers(visitor: Visitor) -> None:
    page = (await visitor.get("/runs")).text
    url = page.partition('href="/static/console.css')[2].partition('"')[0]
    response = await visitor.get(f"/static/console.css{url}")
    assert response.status_code == 200
    assert "immutable" in response.headers["cache-control"]
    assert (await visitor.get("/static/console.css")).headers["cache-control"] == "no-cache"
    assert (await visitor.get("/static/../app.py")).status_code == 404


async def test_an_absent_control_plane_is_reported() -> None:
    async for visitor in visit("127.0.0.1:1"):
        response = await visitor.get("/runs")
        assert response.status_code == 503
        assert "The control plane does not answer" in response.text
        assert URL not in response.text
