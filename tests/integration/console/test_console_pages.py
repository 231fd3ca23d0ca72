"""Every page of the console in a real browser: accessible, and nothing wider than the window."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import tailrace
from tailrace.access import PLAINTEXT
from tailrace.console.app import create_app
from tailrace.console.settings import Settings
from tests.browser import Browser, installed
from tests.conftest import unavailable
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.console.hostile_content import fill
from tests.unit.tailrace.console.test_every_page import URLS

AXE = Path(__file__).parents[2] / "vendor/axe/axe.min.js"

BROWSED = [url for url in URLS if not url.startswith("/runs/new") or "preset=" in url]
"""The form of a new run is long: one is enough."""

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

OF_WINDOW = ["color-contrast", "target-size", "scrollable-region-focusable"]
"""Rules whose outcome depends on the colours and the width."""


@pytest.fixture(scope="module")
def console(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a console whose control plane has hostile content."""
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("pages"))
    with tailrace.Client(served.address, access=PLAINTEXT) as client:
        fill(served, client)
    app = create_app(Settings(), served.address, PLAINTEXT)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    served.stop()


@pytest.fixture(scope="module")
def browser(console: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = installed()
    if program is None:
        unavailable("needs a browser: apt-get install chromium")
    browser = Browser(program, tmp_path_factory.mktemp("profile"), f"{console}/health")
    yield browser
    browser.close()


@pytest.mark.parametrize("address", BROWSED)
def test_a_page_is_accessible_on_a_desk_and_on_a_phone(
    browser: Browser, console: str, address: str
) -> None:
    browser.resize(1280)
    browser.prefer("light")
    browser.open(f"{console}{address}")
    browser.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    browser.evaluate(AXE.read_text(encoding="utf-8"))
    assert (overflow(browser), violations(browser, "tag", RULES)) == (0, [])
    browser.resize(390)
    browser.prefer("dark")
    assert (overflow(browser), violations(browser, "rule", OF_WINDOW)) == (0, [])


def overflow(browser: Browser) -> int:
    """Pixels by which the page is wider than its window."""
    pixels: int = browser.evaluate(
        "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
    )
    return pixels


def violations(browser: Browser, kind: str, names: list[str]) -> list[Any]:
    """Rules of axe-core that the page breaks, each with the first elements."""
    broken: list[Any] = browser.evaluate(
        f"return axe.run({{runOnly: {{type: '{kind}', values: {names}}}}}).then((found) => "
        "found.violations.map((one) => [one.id, one.nodes.slice(0, 3).map((node) => node.html)]))"
    )
    return broken
