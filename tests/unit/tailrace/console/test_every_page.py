"""Promises of all pages, over the application's own routes: a new page is covered by itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.routing import Route

import tailrace
from tailrace.access import PLAINTEXT
from tailrace.console import pages
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.console.conftest import Visitor, visit
from tests.unit.tailrace.console.hostile_content import HOSTILE, NAME, WORKER, fill

NAMES = {"datasets": NAME, "evalsets": NAME, "models": NAME, "runs": NAME, "workers": WORKER}
"""What is stored under the first step of a path; a page on another thing needs a name here."""

QUERIES = {
    "/runs/new": [f"from={NAME}", f"from={NAME}&view=yaml", "preset=golden_v2_nano"],
    "/datasets/{name}/statistics": [f"against={NAME}"],
    "/runs": [],
}
"""Further forms of a page."""

OUTSIDE = {"/login", "/compare"}
"""Pages that need no control plane."""


FILES = {
    "/runs/{run}/spec.yaml",
    "/runs/{run}/lines",
    "/runs/{run}/points",
    "/runs/{run}/artifacts/{artifact}/{path:path}",
}
"""Paths of files and of data for scripts."""


def paths() -> Iterator[str]:
    """The paths of all pages, without streams of events and files."""
    for route in pages.ROUTES:
        assert isinstance(route, Route)
        is_page = route.path not in FILES and not route.path.endswith(("events", "stream"))
        if "GET" in (route.methods or ()) and is_page:
            yield route.path


def url(path: str, name: str = "") -> str:
    """The URL of a page on stored things, or on another name."""
    step = path.split("/")[1]
    return re.sub(r"\{\w+(:\w+)?\}", lambda _: name or NAMES[step], path)


URLS = [url(path) for path in paths()]
URLS += [f"{url(path)}?{query}" for path, queries in QUERIES.items() for query in queries]


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("hostile"))
    with tailrace.Client(served.address, access=PLAINTEXT) as client:
        fill(served, client)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def empty(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("empty"))
    yield served
    served.stop()


@pytest.fixture
async def of_hostile(hostile: ServedControlPlane) -> AsyncIterator[Visitor]:
    async for visitor in visit(hostile.address):
        yield visitor


@pytest.mark.parametrize("address", URLS)
async def test_hostile_names_and_texts_stay_text(of_hostile: Visitor, address: str) -> None:
    page = await of_hostile.get(address, follow_redirects=True)
    assert page.status_code == 200, page.text[-2000:]
    elements = Elements()
    elements.feed(page.text)
    assert {"img", "i"}.isdisjoint(tag for tag, _ in elements.found)
    for tag, values in elements.found:
        assert not any(name == "style" or name.startswith("on") for name in values), tag
        assert tag != "script" or (values["src"] or "").startswith("/static/")


@pytest.mark.parametrize("address", URLS)
async def test_characters_that_deceive_are_visible(of_hostile: Visitor, address: str) -> None:
    page = (await of_hostile.get(address, follow_redirects=True)).text
    # A field sends its text back: there it stays what it is.
    outside_fields = re.sub(r"<textarea.*?</textarea>|<input[^>]*>", "", page, flags=re.DOTALL)
    assert "\u202e" not in outside_fields


async def test_the_hostile_text_is_shown_at_all(of_hostile: Visitor) -> None:
    escaped = "&lt;script&gt;alert(&#39;x&#39;)"
    for address in ("/datasets", f"/datasets/{NAME}", f"/evalsets/{NAME}", f"/models/{NAME}"):
        assert escaped in (await of_hostile.get(address)).text, address
    assert escaped in (await of_hostile.get(f"/workers/{WORKER}")).text
    assert len(HOSTILE) > len(escaped)


@pytest.mark.parametrize("address", URLS)
async def test_a_page_names_itself_and_its_fields(of_hostile: Visitor, address: str) -> None:
    page = (await of_hostile.get(address, follow_redirects=True)).text
    assert len(re.findall(r"<h1[ >]", page)) == 1
    assert '<html lang="en">' in page
    assert re.search(r"<title>[^<]+ – Tailrace</title>", page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    labels = set(re.findall(r'<label for="([^"]+)"', page))
    outside_labels = re.sub(r"<label(?: class=\"check\")?>.*?</label>", "", page, flags=re.DOTALL)
    for control in re.findall(r"<(?:input|select|textarea)\b[^>]*>", outside_labels):
        kind = re.search(r'type="(\w+)"', control)
        if kind and kind[1] in ("hidden", "checkbox", "radio"):
            continue
        found = re.search(r'\sid="([^"]+)"', control)
        assert (found and found[1] in labels) or "aria-label" in control, control


@pytest.mark.parametrize("path", [path for path in paths() if "{" not in path])
async def test_an_empty_installation_has_all_pages(empty: ServedControlPlane, path: str) -> None:
    async for visitor in visit(empty.address):
        page = await visitor.get(path, follow_redirects=True)
        assert page.status_code == 200


@pytest.mark.parametrize("path", [path for path in paths() if "{" in path])
async def test_an_unknown_name_is_not_found(of_hostile: Visitor, path: str) -> None:
    page = await of_hostile.get(url(path, "no-such-thing"))
    assert page.status_code == 404
    assert "<h1" in page.text


@pytest.mark.parametrize("path", [path for path in paths() if path not in OUTSIDE])
async def test_a_page_says_that_the_control_plane_is_away_and_loads_itself_again(
    path: str,
) -> None:
    async for visitor in visit("127.0.0.1:1"):
        page = await visitor.get(url(path), follow_redirects=True)
        assert page.status_code == 503
        assert page.headers["refresh"]
